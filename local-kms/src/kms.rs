//! The server's parts, opened from its directory: state, root key, principals, audit log.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use zeroize::Zeroizing;

use crate::account::Account;
use crate::audit::AuditLog;
use crate::ciphertext::KeyMaterial;
use crate::clock::Clock;
use crate::error::KmsError;
use crate::faults::Faults;
use crate::policy::{Policy, PolicyKind};
use crate::principals::{self, Caller, Directory, DirectoryError, Principal, PrincipalId, Session};
use crate::root_key::{Purpose, ROOT_KEY_LEN, RootKey};
use crate::sigv4::SignatureError;
use crate::state::{KeyId, LastUsage, Lookup, MaterialId, Reading, State, StateError};

pub(crate) const ROOT_KEY_FILE: &str = "root.key";
pub(crate) const STATE_FILE: &str = "state.redb";

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

pub struct Kms {
    pub(crate) dir: PathBuf,
    pub(crate) account: Account,
    pub(crate) state: State,
    pub(crate) audit: AuditLog,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    pub(crate) root_key: RootKey,
    directory: RwLock<Arc<Directory>>,
    /// Held by the administrator's request that is being answered.
    pub(crate) administration: Mutex<()>,
    /// Uses that are not in the state yet: one write each would be one sync each.
    recent_usages: Mutex<HashMap<KeyId, LastUsage>>,
}

impl Kms {
    pub fn open(dir: &Path, clock: Clock) -> Result<Self, OpenError> {
        let (state, root_key) = open_state(dir)?;
        let (account, directory) = known(dir, &state, &root_key)?;
        let audit = AuditLog::open(dir, clock.clone()).map_err(|source| OpenError::Io {
            action: "open the audit log in",
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            account,
            state,
            audit,
            clock,
            faults: Faults::default(),
            root_key,
            directory: RwLock::new(Arc::new(directory)),
            administration: Mutex::default(),
            recent_usages: Mutex::default(),
        })
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the principals again, after a change.
    pub(crate) fn reload_directory(&self) -> Result<(), KmsError> {
        let directory = Directory::load(&self.state.read_newest()?, &self.root_key)
            .map_err(|error| KmsError::Internal(Box::new(error)))?;
        *self.directory.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(directory);
        Ok(())
    }

    /// Whose access key this is, and the secret to check their signature with.
    pub(crate) fn identify(
        &self,
        access_key_id: &str,
        token: Option<&str>,
    ) -> Result<(Zeroizing<String>, Caller), SignatureError> {
        let directory = self.directory();
        match token {
            Some(token) => self.identify_session(&directory, access_key_id, token),
            None => {
                let key = directory.access_key(access_key_id).ok_or(SignatureError::UnrecognizedClient)?;
                let principal = directory.principal(&key.principal).ok_or(SignatureError::UnrecognizedClient)?;
                let caller = self.caller(&directory, principal, key.id.clone(), None)?;
                Ok((key.secret.clone(), caller))
            }
        }
    }

    fn identify_session(
        &self,
        directory: &Directory,
        access_key_id: &str,
        token: &str,
    ) -> Result<(Zeroizing<String>, Caller), SignatureError> {
        let token =
            principals::open_session(&self.root_key, token).filter(|token| token.access_key_id == access_key_id);
        let token = token.ok_or(SignatureError::UnrecognizedClient)?;
        if self.clock.unmoved() >= token.expires {
            return Err(SignatureError::ExpiredToken);
        }
        // A role that was made anew under the same name is another one.
        let role = directory.principal(&token.role).filter(|role| role.record.unique_id == token.role_unique_id);
        let role = role.ok_or(SignatureError::UnrecognizedClient)?;
        let policy = token.policy.as_deref().map(|text| Policy::parse(text, PolicyKind::Identity)).transpose();
        let session = Session {
            name: token.session_name.clone(),
            issued: token.issued,
            policy: policy.map_err(|_| SignatureError::UnrecognizedClient)?,
        };
        let secret = Zeroizing::new(token.secret.expose().to_owned());
        Ok((secret, self.caller(directory, role, token.access_key_id.clone(), Some(session))?))
    }

    /// Credentials of a service that acts for somebody are somebody's, through the service.
    pub(crate) fn caller(
        &self,
        directory: &Directory,
        principal: &Arc<Principal>,
        access_key_id: String,
        session: Option<Session>,
    ) -> Result<Caller, SignatureError> {
        let (principal, via_service) = match &principal.record.id {
            PrincipalId::Service { name, acting_for: Some(other) } => {
                let other = directory.principal(other.as_ref()).ok_or(SignatureError::UnrecognizedClient)?;
                (Arc::clone(other), Some(name.clone()))
            }
            _ => (Arc::clone(principal), None),
        };
        let forwarded_role = via_service.is_some() && matches!(principal.record.id, PrincipalId::Role { .. });
        let session = session.or_else(|| {
            forwarded_role.then(|| Session { name: "forwarded".to_owned(), issued: self.clock.unmoved(), policy: None })
        });
        Ok(Caller { principal, access_key_id, session, via_service })
    }

    #[cfg(test)]
    pub(crate) fn caller_named(&self, name: &str) -> Caller {
        let directory = self.directory();
        let principal = directory.principal(&name.parse().unwrap()).unwrap();
        let key = directory.access_key_of(&principal.record.id).map(|key| key.id.clone());
        self.caller(&directory, principal, key.unwrap_or_default(), None).unwrap_or_else(|error| panic!("{error}"))
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

    pub(crate) fn note_usage(&self, key: KeyId, usage: LastUsage) {
        self.recent_usages.lock().unwrap_or_else(PoisonError::into_inner).insert(key, usage);
    }

    pub(crate) fn last_usage(&self, key: KeyId) -> Result<Option<LastUsage>, KmsError> {
        let recent = self.recent_usages.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        match recent {
            Some(usage) => Ok(Some(usage)),
            None => Ok(self.state.read_newest()?.last_usage(key)?),
        }
    }

    /// Puts recent uses into the state: now and then, and before the server ends.
    pub(crate) fn save_usages(&self) -> Result<(), KmsError> {
        let usages = std::mem::take(&mut *self.recent_usages.lock().unwrap_or_else(PoisonError::into_inner));
        if usages.is_empty() {
            return Ok(());
        }
        self.state.write(|writing| {
            for (key, usage) in &usages {
                if writing.key(*key)?.is_some() {
                    writing.put_last_usage(*key, usage)?;
                }
            }
            Ok(())
        })
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

/// The account and the principals, whose sealed secrets also prove that the root key is the right one.
pub(crate) fn known(dir: &Path, state: &State, root_key: &RootKey) -> Result<(Account, Directory), OpenError> {
    let path = dir.join(STATE_FILE);
    let unreadable = |error: StateError| OpenError::State { path: path.clone(), source: Box::new(error) };
    let reading = state.read_newest().map_err(unreadable)?;
    let account = reading.account().map_err(unreadable)?;
    let directory = Directory::load(&reading, root_key).map_err(|error| match error {
        DirectoryError::WrongRootKey => OpenError::WrongRootKey { path: dir.join(ROOT_KEY_FILE) },
        error => OpenError::State { path: path.clone(), source: Box::new(error) },
    })?;
    Ok((account, directory))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use jiff::Timestamp;
    use tempfile::TempDir;

    use super::*;
    use crate::admin::{self, Request};
    use crate::principals::{SessionToken, new_session};
    use crate::{InitOptions, init};

    #[test]
    fn a_session_is_refused_when_its_time_is_over() {
        let dir = TempDir::new().unwrap();
        init(dir.path(), &InitOptions::default()).unwrap();
        let (name, trusts) = ("role/db".to_owned(), vec!["root".to_owned()]);
        let create = Request::CreatePrincipal { name, acting_for: None, trusts, trust_policy: None };
        admin::request(dir.path(), &create).unwrap();

        let now_s = Arc::new(AtomicI64::new(1_800_000_000));
        let clock = {
            let now_s = Arc::clone(&now_s);
            Clock::from_fn(move || Timestamp::from_second(now_s.load(Ordering::SeqCst)).unwrap())
        };
        let kms = Kms::open(dir.path(), clock).unwrap();
        let role: PrincipalId = "role/db".parse().unwrap();
        let issued = kms.clock.unmoved();
        let session = new_session(&kms.root_key, |access_key_id, secret| SessionToken {
            access_key_id,
            secret,
            role_unique_id: kms.directory().principal(&role).unwrap().record.unique_id.clone(),
            role: role.clone(),
            session_name: "s1".to_owned(),
            issued,
            expires: issued + jiff::SignedDuration::from_secs(900),
            policy: None,
        });
        let session = session.unwrap();
        let identify = || kms.identify(&session.token.access_key_id, Some(session.text.as_str())).map(drop);
        now_s.fetch_add(899, Ordering::SeqCst);
        assert_eq!(identify(), Ok(()));
        now_s.fetch_add(1, Ordering::SeqCst);
        assert_eq!(identify(), Err(SignatureError::ExpiredToken));
    }
}
