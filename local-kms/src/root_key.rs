//! The root key: 32 bytes in a file of their own, under which key material and secret access keys are sealed.

use std::io;

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Key, KeyInit, Nonce};
use zeroize::Zeroizing;

use crate::random;
use crate::state::{KeyId, MaterialId};

pub(crate) const ROOT_KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;

pub(crate) struct RootKey(Aes256GcmSiv);

/// The one record that a sealed secret belongs to; moved to another, it does not open.
pub(crate) enum Purpose<'a> {
    UserSecret { access_key_id: &'a str },
    KeyMaterial { key: KeyId, material: MaterialId },
    SessionToken,
    GrantToken,
    ImportToken,
}

/// What was sealed does not open: another root key, another purpose, or damaged bytes.
#[derive(Debug)]
pub(crate) struct NotOurs;

impl RootKey {
    pub(crate) fn generate() -> io::Result<Zeroizing<[u8; ROOT_KEY_LEN]>> {
        let mut bytes = Zeroizing::new([0; ROOT_KEY_LEN]);
        random::fill(&mut *bytes)?;
        Ok(bytes)
    }

    pub(crate) fn new(bytes: &[u8; ROOT_KEY_LEN]) -> Self {
        Self(cipher(bytes))
    }

    pub(crate) fn seal(&self, purpose: &Purpose, secret: &[u8]) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce)?;
        let payload = Payload { msg: secret, aad: &purpose.associated_data() };
        let sealed = self.0.encrypt(&Nonce::from(nonce), payload).map_err(|_| io::Error::other("secret too long"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open(&self, purpose: &Purpose, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOurs> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(NotOurs)?;
        let payload = Payload { msg: sealed, aad: &purpose.associated_data() };
        self.0.decrypt(&Nonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| NotOurs)
    }
}

impl Purpose<'_> {
    fn associated_data(&self) -> Vec<u8> {
        match self {
            Self::UserSecret { access_key_id } => [b"local-kms user secret 1:", access_key_id.as_bytes()].concat(),
            Self::KeyMaterial { key, material } => {
                [b"local-kms key material 1:", key.as_bytes(), material.as_bytes()].concat()
            }
            Self::SessionToken => b"local-kms session token 1".to_vec(),
            Self::GrantToken => b"local-kms grant token 1".to_vec(),
            Self::ImportToken => b"local-kms import token 1".to_vec(),
        }
    }
}

/// AES-256-GCM-SIV (RFC 8452): a nonce used twice would show only that two messages are the same.
pub(crate) fn cipher(key: &[u8; 32]) -> Aes256GcmSiv {
    Aes256GcmSiv::new(<&Key<Aes256GcmSiv>>::from(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_purpose_and_bytes() {
        let (key, other) = (RootKey::new(&[1; 32]), RootKey::new(&[2; 32]));
        let here = Purpose::UserSecret { access_key_id: "AKIA1" };
        let sealed = key.seal(&here, b"secret").unwrap();
        assert_eq!(key.open(&here, &sealed).unwrap().as_slice(), b"secret");
        assert!(key.open(&Purpose::UserSecret { access_key_id: "AKIA2" }, &sealed).is_err());
        assert!(other.open(&here, &sealed).is_err());
        assert!(key.open(&here, &sealed[..sealed.len() - 1]).is_err());
        assert!(key.open(&here, b"short").is_err());
    }
}
