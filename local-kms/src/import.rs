//! Importing key material (BYOK): the RSA key that wraps it on its way, and the token that remembers that key.
//!
//! The token holds the wrapping key itself, sealed under the root key: nothing has to be stored for an import that may
//! never come. RSA and the AES key wrap are AWS-LC's, whose RSA takes the same time whatever the key.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey, PrivateDecryptingKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::ciphertext::KeyMaterial;
use crate::error::KmsError;
use crate::root_key::{Purpose, RootKey};
use crate::state::{KeyId, MaterialId};

/// How material is wrapped: RSA alone, or an AES key by RSA and the material by the AES key (RFC 5649).
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum WrappingAlgorithm {
    OaepSha1,
    OaepSha256,
    AesKeyWrapSha1,
    AesKeyWrapSha256,
}

impl WrappingAlgorithm {
    /// `None` for what AWS offers and this server does not.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "RSAES_OAEP_SHA_1" => Some(Self::OaepSha1),
            "RSAES_OAEP_SHA_256" => Some(Self::OaepSha256),
            "RSA_AES_KEY_WRAP_SHA_1" => Some(Self::AesKeyWrapSha1),
            "RSA_AES_KEY_WRAP_SHA_256" => Some(Self::AesKeyWrapSha256),
            _ => None,
        }
    }

    fn oaep(self) -> &'static OaepAlgorithm {
        match self {
            Self::OaepSha1 | Self::AesKeyWrapSha1 => &OAEP_SHA1_MGF1SHA1,
            Self::OaepSha256 | Self::AesKeyWrapSha256 => &OAEP_SHA256_MGF1SHA256,
        }
    }

    fn wraps_an_aes_key(self) -> bool {
        matches!(self, Self::AesKeyWrapSha1 | Self::AesKeyWrapSha256)
    }
}

#[derive(Clone, Copy)]
pub(crate) struct WrappingKeySpec(KeySize);

impl WrappingKeySpec {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "RSA_2048" => Some(Self(KeySize::Rsa2048)),
            "RSA_3072" => Some(Self(KeySize::Rsa3072)),
            "RSA_4096" => Some(Self(KeySize::Rsa4096)),
            _ => None,
        }
    }
}

pub(crate) struct WrappingKey(PrivateDecryptingKey);

impl WrappingKey {
    pub(crate) fn generate(spec: WrappingKeySpec) -> Result<Self, KmsError> {
        PrivateDecryptingKey::generate(spec.0).map(Self).map_err(failed)
    }

    /// DER of the `SubjectPublicKeyInfo` (RFC 5280).
    pub(crate) fn public_bytes(&self) -> Result<Vec<u8>, KmsError> {
        let der: PublicKeyX509Der = self.0.public_key().as_der().map_err(failed)?;
        Ok(der.as_ref().to_vec())
    }

    /// PKCS #8.
    pub(crate) fn private_bytes(&self) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let der: Pkcs8V1Der = self.0.as_der().map_err(failed)?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

/// What ImportKeyMaterial needs to know of the GetParametersForImport before it.
pub(crate) struct ImportToken {
    pub(crate) key: KeyId,
    pub(crate) algorithm: WrappingAlgorithm,
    pub(crate) valid_to: Timestamp,
    /// PKCS #8.
    pub(crate) wrapping_key: Zeroizing<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
struct TokenText {
    key: KeyId,
    algorithm: WrappingAlgorithm,
    valid_to: Timestamp,
    wrapping_key: String,
}

impl ImportToken {
    pub(crate) fn seal(&self, root_key: &RootKey) -> Result<Vec<u8>, KmsError> {
        let text = TokenText {
            key: self.key,
            algorithm: self.algorithm,
            valid_to: self.valid_to,
            wrapping_key: STANDARD.encode(&*self.wrapping_key),
        };
        let plain =
            serde_json::to_vec(&text).map(Zeroizing::new).map_err(|error| KmsError::Internal(Box::new(error)))?;
        drop(Zeroizing::new(text.wrapping_key));
        Ok(root_key.seal(&Purpose::ImportToken, &plain)?)
    }

    /// `None`: it was not made here, or was changed.
    pub(crate) fn open(root_key: &RootKey, sealed: &[u8]) -> Option<Self> {
        let plain = root_key.open(&Purpose::ImportToken, sealed).ok()?;
        let text: TokenText = serde_json::from_slice(&plain).ok()?;
        let encoded = Zeroizing::new(text.wrapping_key);
        let wrapping_key = Zeroizing::new(STANDARD.decode(&*encoded).ok()?);
        Some(Self { key: text.key, algorithm: text.algorithm, valid_to: text.valid_to, wrapping_key })
    }

    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        let key = PrivateDecryptingKey::from_pkcs8(&self.wrapping_key).map_err(failed)?;
        let modulus_len = key.key_size_bytes();
        let key = OaepPrivateDecryptingKey::new(key).map_err(failed)?;
        let (by_rsa, by_aes) = wrapped.split_at_checked(modulus_len).ok_or(KmsError::InvalidCiphertext)?;
        let mut opened = Zeroizing::new(vec![0; key.min_output_size()]);
        let opened =
            key.decrypt(self.algorithm.oaep(), by_rsa, &mut opened, None).map_err(|_| KmsError::InvalidCiphertext)?;
        if !self.algorithm.wraps_an_aes_key() {
            return if by_aes.is_empty() {
                Ok(Zeroizing::new(opened.to_vec()))
            } else {
                Err(KmsError::InvalidCiphertext)
            };
        }
        let kek = AesKek::new(&AES_256, opened).map_err(|_| KmsError::InvalidCiphertext)?;
        let mut material = Zeroizing::new(vec![0; by_aes.len() + 16]);
        let material = kek.unwrap_with_padding(by_aes, &mut material).map_err(|_| KmsError::InvalidCiphertext)?;
        Ok(Zeroizing::new(material.to_vec()))
    }
}

/// The same material of the same key has the same id, so that it is known again when it comes back. It tells nothing of
/// the 256 random bits it is made of.
pub(crate) fn material_id(key: KeyId, material: &KeyMaterial) -> MaterialId {
    let mut digest = Sha256::new_with_prefix(b"local-kms imported material 1:");
    digest.update(key.as_bytes());
    digest.update(material.expose());
    MaterialId::from_bytes(digest.finalize().into())
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> KmsError {
    KmsError::Internal(Box::new(error))
}
