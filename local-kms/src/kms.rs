//! The server's parts, opened from its directory: state, root key, users, audit log.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::account::Account;
use crate::audit::{AuditLog, Record};
use crate::ciphertext::KeyMaterial;
use crate::clock::Clock;
use crate::error::KmsError;
use crate::root_key::{Purpose, ROOT_KEY_LEN, RootKey};
use crate::state::{KeyId, MaterialId, Reading, State, StateError, UserRecord};

pub(crate) const ROOT_KEY_FILE: &str = "root.key";
pub(crate) const STATE_FILE: &str = "state.redb";
const AUDIT_FILE: &str = "audit.jsonl";

/// Why a server's directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `init` was not run there.
    #[error("there is no KMS in {}; make one with `envol kms init`", dir.display())]
    NotInitialised { dir: PathBuf },
    /// Another process has it open.
    #[error("the KMS in {} is in use by another process; one server serves a directory", dir.display())]
    InUse { dir: PathBuf },
    #[error(
        "{} is missing, and without it no key of this KMS can be opened; restore the file from a backup, or remove \
         {} to start anew, without the keys", path.display(), dir.display()
    )]
    RootKeyMissing { path: PathBuf, dir: PathBuf },
    #[error("{} is {len} bytes long instead of {ROOT_KEY_LEN}; restore the file from a backup", path.display())]
    RootKeyLength { path: PathBuf, len: usize },
    #[error(
        "{} is not the root key of the state beside it, or one of the two is damaged; restore both from one backup",
        path.display()
    )]
    WrongRootKey { path: PathBuf },
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("cannot read the state in {}", path.display())]
    State { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
}

pub(crate) struct Kms {
    pub(crate) account: Account,
    pub(crate) state: State,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    root_key: RootKey,
    users: HashMap<String, User>,
}

/// Someone who may sign requests.
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) principal_id: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: Zeroizing<String>,
}

impl Kms {
    pub(crate) fn open(dir: &Path, clock: Clock) -> Result<Self, OpenError> {
        let (state, root_key) = open_state(dir)?;
        let (account, users) = known(dir, &state, &root_key)?;
        let path = dir.join(AUDIT_FILE);
        let audit = AuditLog::open(&path).map_err(|source| OpenError::Io { action: "open", path, source })?;
        let users = users.into_iter().map(|user| (user.access_key_id.clone(), user)).collect();
        Ok(Self { account, state, audit, clock, root_key, users })
    }

    pub(crate) fn user(&self, access_key_id: &str) -> Option<&User> {
        self.users.get(access_key_id)
    }

    #[cfg(test)]
    pub(crate) fn any_user(&self) -> &User {
        self.users.values().min_by_key(|user| &user.name).unwrap()
    }

    pub(crate) fn seal_material(
        &self,
        key: KeyId,
        material: MaterialId,
        secret: &KeyMaterial,
    ) -> Result<Vec<u8>, KmsError> {
        Ok(self.root_key.seal(&Purpose::KeyMaterial { key, material }, secret.expose())?)
    }

    /// `None` if the key has no such material.
    pub(crate) fn material(
        &self,
        reading: &Reading,
        key: KeyId,
        material: MaterialId,
    ) -> Result<Option<KeyMaterial>, KmsError> {
        let Some(sealed) = reading.material(key, material)? else {
            return Ok(None);
        };
        let opened = self.root_key.open(&Purpose::KeyMaterial { key, material }, &sealed);
        let secret = opened.ok().and_then(|bytes| KeyMaterial::from_bytes(&bytes));
        secret.map(Some).ok_or_else(|| StateError::Corrupted(format!("material of key {key} does not open")).into())
    }

    /// Deletes the keys whose waiting period is over. Called before each operation, so that none sees such a key.
    pub(crate) fn delete_due_keys(&self) -> Result<(), KmsError> {
        let now = self.clock.now();
        if !self.state.read()?.deletion_due(now)? {
            return Ok(());
        }
        let deleted = self.state.write(|writing| writing.remove_due_keys(now))?;
        for key in deleted {
            tracing::info!(%key, "key deleted: its waiting period is over");
            self.audit.append(&Record::key_deleted(&self.account, now, key))?;
        }
        Ok(())
    }
}

/// Opens the state and the root key without changing either.
pub(crate) fn open_state(dir: &Path) -> Result<(State, RootKey), OpenError> {
    let path = dir.join(STATE_FILE);
    if !path.exists() {
        return Err(OpenError::NotInitialised { dir: dir.to_owned() });
    }
    let root_key = read_root_key(dir)?;
    match State::open(&path) {
        Ok(Some(state)) => Ok((state, root_key)),
        Ok(None) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(error) => Err(OpenError::State { path, source: Box::new(error) }),
    }
}

pub(crate) fn read_root_key(dir: &Path) -> Result<RootKey, OpenError> {
    let path = dir.join(ROOT_KEY_FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(OpenError::RootKeyMissing { path, dir: dir.to_owned() });
        }
        Err(source) => {
            return Err(OpenError::Io { action: "read", path, source });
        }
    };
    match bytes.as_slice().try_into() {
        Ok(bytes) => Ok(RootKey::new(bytes)),
        Err(_) => Err(OpenError::RootKeyLength { path, len: bytes.len() }),
    }
}

/// The account and the users, whose sealed secrets also prove that the root key is the right one.
pub(crate) fn known(dir: &Path, state: &State, root_key: &RootKey) -> Result<(Account, Vec<User>), OpenError> {
    let unreadable = |error: StateError| OpenError::State { path: dir.join(STATE_FILE), source: Box::new(error) };
    let reading = state.read().map_err(unreadable)?;
    let account = reading.account().map_err(unreadable)?;
    let users = reading.users().map_err(unreadable)?;
    let users = users.into_iter().map(|user| open_user(user, root_key)).collect::<Option<_>>();
    Ok((account, users.ok_or_else(|| OpenError::WrongRootKey { path: dir.join(ROOT_KEY_FILE) })?))
}

fn open_user(user: UserRecord, root_key: &RootKey) -> Option<User> {
    let secret =
        root_key.open(&Purpose::UserSecret { access_key_id: &user.access_key_id }, &user.sealed_secret).ok()?;
    Some(User {
        secret_access_key: Zeroizing::new(std::str::from_utf8(&secret).ok()?.to_owned()),
        name: user.name,
        principal_id: user.principal_id,
        access_key_id: user.access_key_id,
    })
}
