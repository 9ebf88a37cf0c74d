//! Sessions of roles: temporary credentials that say themselves whose they are, so that they outlive a restart and
//! nothing has to be stored or cleaned up.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::PrincipalId;
use crate::random;
use crate::root_key::{Purpose, RootKey};

/// What a session token holds, sealed under the root key.
#[derive(Serialize, Deserialize)]
pub(crate) struct SessionToken {
    pub(crate) access_key_id: String,
    pub(crate) secret: Secret,
    pub(crate) role: PrincipalId,
    /// Of the role that was assumed: not of one made later under the same name.
    pub(crate) role_unique_id: String,
    pub(crate) session_name: String,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
    /// Narrows what the role may do.
    pub(crate) policy: Option<String>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

pub(crate) struct NewSession {
    pub(crate) token: SessionToken,
    /// What the client sends as `X-Amz-Security-Token`.
    pub(crate) text: Zeroizing<String>,
}

/// `make` gets an access key id and a secret that nobody has yet.
pub(crate) fn new_session(
    root_key: &RootKey,
    make: impl FnOnce(String, Secret) -> SessionToken,
) -> io::Result<NewSession> {
    let secret = random::secret_access_key()?;
    let token = make(format!("ASIA{}", random::base32(16)?), Secret(secret.to_string()));
    let plain = Zeroizing::new(serde_json::to_vec(&token)?);
    let sealed = root_key.seal(&Purpose::SessionToken, &plain)?;
    Ok(NewSession { token, text: Zeroizing::new(STANDARD.encode(sealed)) })
}

/// `None`: it was not made here, or was changed. Says nothing of its expiry.
pub(crate) fn open_session(root_key: &RootKey, text: &str) -> Option<SessionToken> {
    let sealed = STANDARD.decode(text).ok()?;
    let plain = root_key.open(&Purpose::SessionToken, &sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}
