//! Makes a server's directory, once. Run again it changes no secret and no key.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::account::{ACCOUNT_ID, Account};
use crate::kms::{self, OpenError, ROOT_KEY_FILE, STATE_FILE};
use crate::principals::{self, ADMINISTRATOR_ACCESS, PrincipalId};
use crate::root_key::RootKey;
use crate::settings::{DEFAULT_LISTEN, Settings};
use crate::state::{State, StateError};
use crate::{durable_file, profiles};

/// The administrator, whose profile the export lines name.
pub(crate) const ADMIN: &str = "envol-admin";
/// The volume service.
const VOLUME_SERVICE: &str = "envol-volume";
const DEFAULT_REGION: &str = "us-east-1";

/// What is `None` stays as it was, or gets its default: 127.0.0.1:4599, us-east-1.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// Where `serve` listens unless told otherwise.
    pub listen: Option<SocketAddr>,
    /// Part of every ARN, so it cannot change later.
    pub region: Option<String>,
}

/// A directory that is ready to be served.
#[derive(Clone, Debug)]
pub struct Init {
    dir: PathBuf,
    dir_text: String,
    listen: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the path {} is not UTF-8, which the variables of AWS clients need; choose another directory", dir.display())]
    DirNotUtf8 { dir: PathBuf },
    #[error("'{region}' is not the name of a region; use lower-case letters, digits and hyphens, as in us-east-1")]
    InvalidRegion { region: String },
    #[error(
        "the KMS in {} is in region {existing}, and its keys' ARNs say so; leave out the region, or use another \
         directory for {requested}", dir.display()
    )]
    RegionDiffers { dir: PathBuf, existing: String, requested: String },
}

impl Init {
    /// The directory, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where `serve` will listen unless told otherwise.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Lines for a POSIX shell that make AWS clients use this server, as its administrator.
    pub fn export_lines(&self) -> Vec<String> {
        let host = match self.listen {
            SocketAddr::V4(listen) if listen.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, listen.port()).into(),
            SocketAddr::V6(listen) if listen.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, listen.port()).into(),
            listen => listen,
        };
        let dir = &self.dir_text;
        vec![
            format!("export AWS_CONFIG_FILE={}", shell_quoted(&format!("{dir}/aws/config"))),
            format!("export AWS_SHARED_CREDENTIALS_FILE={}", shell_quoted(&format!("{dir}/aws/credentials"))),
            format!("export AWS_PROFILE={ADMIN}"),
            format!("export AWS_ENDPOINT_URL_KMS={}", shell_quoted(&format!("http://{host}"))),
            // Sessions of roles are had from here too.
            format!("export AWS_ENDPOINT_URL_STS={}", shell_quoted(&format!("http://{host}"))),
        ]
    }
}

/// Makes `dir` (mode 0700) with a root key, an empty state, two users and their AWS profiles, or completes it: files
/// of AWS profiles that are missing are written again, and `options.listen` is remembered.
///
/// # Errors
/// [`OpenError::InUse`] if files must be written again while a server runs on `dir`; see [`InitError`].
pub fn init(dir: &Path, options: &InitOptions) -> Result<Init, InitError> {
    if let Some(region) = &options.region {
        check_region(region)?;
    }
    let io_error = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { action, path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))?;
    let dir = dir.canonicalize().map_err(io_error("find", dir))?;
    let dir_text = dir.to_str().ok_or_else(|| InitError::DirNotUtf8 { dir: dir.clone() })?.to_owned();
    // One init at a time; released when the descriptor closes.
    let lock = File::open(&dir).map_err(io_error("open", &dir))?;
    lock.lock().map_err(io_error("lock", &dir))?;

    let is_new = !dir.join(STATE_FILE).exists();
    if is_new {
        let region = options.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned());
        create_state(&dir, &Account { account_id: ACCOUNT_ID.to_owned(), region })?;
    } else if !dir.join(ROOT_KEY_FILE).exists() {
        return Err(OpenError::RootKeyMissing { path: dir.join(ROOT_KEY_FILE), dir }.into());
    }

    let remembered = Settings::read(&dir).map_err(io_error("read the settings in", &dir))?;
    let account = match &remembered {
        Some(settings) if !is_new && !profiles::missing(&dir) => settings.account.clone(),
        _ => {
            let (state, root_key) = kms::open_state(&dir)?;
            let (account, directory) = kms::known(&dir, &state, &root_key)?;
            let aws = dir.join("aws");
            DirBuilder::new().recursive(true).mode(0o700).create(&aws).map_err(io_error("create", &aws))?;
            // A new state has new users: what files of an earlier one say is wrong.
            profiles::write(&dir, &account.region, &directory, is_new).map_err(io_error("write profiles in", &aws))?;
            account
        }
    };
    if let Some(requested) = options.region.as_ref().filter(|region| **region != account.region) {
        return Err(InitError::RegionDiffers { dir, existing: account.region, requested: requested.clone() });
    }
    let listen = options.listen.or(remembered.as_ref().map(|settings| settings.listen)).unwrap_or(DEFAULT_LISTEN);
    let settings = Settings { account, listen };
    if remembered.as_ref() != Some(&settings) {
        settings.write(&dir).map_err(io_error("write the settings in", &dir))?;
    }
    Ok(Init { dir, dir_text, listen })
}

/// Root key first, then the state that needs it, under another name until it is whole: an init that was killed can be
/// run again.
fn create_state(dir: &Path, account: &Account) -> Result<(), OpenError> {
    let key_path = dir.join(ROOT_KEY_FILE);
    if !key_path.exists() {
        let created = RootKey::generate().and_then(|key| durable_file::create(&key_path, &*key));
        created.map_err(|source| OpenError::Io { action: "create", path: key_path, source })?;
    }
    let root_key = kms::read_root_key(dir)?;

    let (path, new) = (dir.join(STATE_FILE), dir.join("state.redb.new"));
    let io_error = |source| OpenError::Io { action: "create", path: path.clone(), source };
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(error)),
        _ => {}
    }
    durable_file::create(&new, &[]).map_err(io_error)?;
    // The administrator may do what IAM can allow; the volume service nothing but what grants give it.
    let administrator = [("AdministratorAccess".to_owned(), ADMINISTRATOR_ACCESS.to_owned())].into();
    let users = [(ADMIN, administrator), (VOLUME_SERVICE, BTreeMap::new())];
    let users = users.map(|(name, policies)| principals::new_principal(&PrincipalId::user(name), policies, &root_key));
    let users = users.into_iter().collect::<io::Result<Vec<_>>>().map_err(io_error)?;
    State::create(&new, account, |writing| {
        users.iter().try_for_each(|(principal, credential)| {
            writing.put_principal(principal)?;
            credential.iter().try_for_each(|credential| writing.put_credential(credential))
        })
    })
    .map_err(|error: StateError| OpenError::State { path: path.clone(), source: Box::new(error) })?;
    durable_file::rename(&new, &path).map_err(io_error)
}

fn check_region(region: &str) -> Result<(), InitError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if region.is_empty() || region.len() > 64 || !region.chars().all(valid) {
        return Err(InitError::InvalidRegion { region: region.to_owned() });
    }
    Ok(())
}

/// As a POSIX shell reads it back (POSIX.1-2024, XCU 2.2.2).
fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}
