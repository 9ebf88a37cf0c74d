//! The ciphertext blob: what Encrypt and GenerateDataKey hand out and Decrypt takes back.
//!
//! ```text
//!  offset  length
//!       0       1  format version, 1
//!       1      16  key id
//!      17      32  key material id
//!      49      12  nonce
//!      61       8  checksum: the first bytes of SHA-256 over offsets 0 to 61
//!      69       n  AES-256-GCM-SIV of the plaintext
//!    69+n      16  its tag
//! ```
//! The tag covers version, key id, material id and the encryption context. The checksum protects nobody: it tells a
//! damaged blob (invalid ciphertext) from one of a key that is not here (access denied), which callers treat
//! differently.

use std::io;

use aes_gcm_siv::Nonce;
use aes_gcm_siv::aead::{Aead, Payload};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::encryption_context::EncryptionContext;
use crate::random;
use crate::root_key::cipher;
use crate::state::{KeyId, MaterialId};

const VERSION: u8 = 1;
const IDENTITY_LEN: usize = 1 + 16 + 32;
const NONCE_LEN: usize = 12;
const CHECKED_LEN: usize = IDENTITY_LEN + NONCE_LEN;
const CHECKSUM_LEN: usize = 8;

/// The secret bytes of a KMS key.
pub(crate) struct KeyMaterial(Zeroizing<[u8; 32]>);

/// The blob was not made here, was damaged, or belongs to another context.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidCiphertext;

/// A blob whose form is right; only [`KeyMaterial::decrypt`] tells whether it is genuine.
pub struct CiphertextBlob<'a> {
    pub(crate) key: KeyId,
    pub(crate) material: MaterialId,
    nonce: [u8; NONCE_LEN],
    sealed: &'a [u8],
}

impl<'a> CiphertextBlob<'a> {
    pub fn parse(blob: &'a [u8]) -> Result<Self, InvalidCiphertext> {
        let (checked, rest) = blob.split_at_checked(CHECKED_LEN).ok_or(InvalidCiphertext)?;
        let (sum, sealed) = rest.split_at_checked(CHECKSUM_LEN).ok_or(InvalidCiphertext)?;
        let (version, rest) = checked.split_first().ok_or(InvalidCiphertext)?;
        if *version != VERSION || sum != checksum(checked) {
            return Err(InvalidCiphertext);
        }
        let (key, rest) = rest.split_first_chunk::<16>().ok_or(InvalidCiphertext)?;
        let (material, nonce) = rest.split_first_chunk::<32>().ok_or(InvalidCiphertext)?;
        Ok(Self {
            key: KeyId::from_bytes(*key),
            material: MaterialId::from_bytes(*material),
            nonce: nonce.try_into().map_err(|_| InvalidCiphertext)?,
            sealed,
        })
    }
}

impl KeyMaterial {
    pub(crate) fn generate() -> io::Result<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        random::fill(&mut *bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut material = Zeroizing::new([0; 32]);
        if bytes.len() != material.len() {
            return None;
        }
        material.copy_from_slice(bytes);
        Some(Self(material))
    }

    /// The bytes, for sealing under the root key and nothing else.
    pub(crate) fn expose(&self) -> &[u8] {
        &*self.0
    }

    pub(crate) fn encrypt(
        &self,
        (key, material): (KeyId, MaterialId),
        context: &EncryptionContext,
        plaintext: &[u8],
    ) -> io::Result<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        random::fill(&mut nonce)?;
        let identity = identity(key, material);
        let payload = Payload { msg: plaintext, aad: &associated_data(&identity, context) };
        let sealed = cipher(&self.0)
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| io::Error::other("plaintext too long"))?;
        let checked = [identity.as_slice(), &nonce].concat();
        Ok([checked.as_slice(), &checksum(&checked), &sealed].concat())
    }

    pub(crate) fn decrypt(
        &self,
        blob: &CiphertextBlob,
        context: &EncryptionContext,
    ) -> Result<Zeroizing<Vec<u8>>, InvalidCiphertext> {
        let aad = associated_data(&identity(blob.key, blob.material), context);
        let payload = Payload { msg: blob.sealed, aad: &aad };
        cipher(&self.0).decrypt(&Nonce::from(blob.nonce), payload).map(Zeroizing::new).map_err(|_| InvalidCiphertext)
    }
}

fn identity(key: KeyId, material: MaterialId) -> Vec<u8> {
    [[VERSION].as_slice(), key.as_bytes(), material.as_bytes()].concat()
}

fn associated_data(identity: &[u8], context: &EncryptionContext) -> Vec<u8> {
    let mut aad = identity.to_vec();
    context.append_canonical(&mut aad);
    aad
}

fn checksum(checked: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::digest(checked);
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: KeyId = KeyId::from_bytes([3; 16]);
    const MATERIAL: MaterialId = MaterialId::from_bytes([4; 32]);

    fn context(key: &str, value: &str) -> EncryptionContext {
        EncryptionContext([(key.to_owned(), value.to_owned())].into())
    }

    fn open(material: &KeyMaterial, blob: &[u8], context: &EncryptionContext) -> Result<Vec<u8>, InvalidCiphertext> {
        material.decrypt(&CiphertextBlob::parse(blob)?, context).map(|plaintext| plaintext.to_vec())
    }

    #[test]
    fn the_largest_plaintext_fits_the_largest_blob() {
        let material = KeyMaterial::generate().unwrap();
        let blob = material.encrypt((KEY, MATERIAL), &EncryptionContext::default(), &[7; 4096]).unwrap();
        assert_eq!(blob.len(), 4096 + 85);
        assert!(blob.len() <= 6144);
        assert_eq!(open(&material, &blob, &EncryptionContext::default()), Ok(vec![7; 4096]));
    }

    #[test]
    fn another_key_or_context_does_not_open_it() {
        let material = KeyMaterial::from_bytes(&[1; 32]).unwrap();
        let blob = material.encrypt((KEY, MATERIAL), &context("aws:ebs:id", "vol-1"), b"secret").unwrap();
        assert_eq!(open(&material, &blob, &context("aws:ebs:id", "vol-1")), Ok(b"secret".to_vec()));
        assert_eq!(open(&material, &blob, &context("aws:ebs:i", "dvol-1")), Err(InvalidCiphertext));
        assert_eq!(open(&material, &blob, &EncryptionContext::default()), Err(InvalidCiphertext));
        let other = KeyMaterial::from_bytes(&[2; 32]).unwrap();
        assert_eq!(open(&other, &blob, &context("aws:ebs:id", "vol-1")), Err(InvalidCiphertext));
    }

    proptest! {
        #[test]
        fn a_blob_that_was_changed_or_cut_anywhere_is_invalid(
            plaintext in prop::collection::vec(any::<u8>(), 1..200),
            bit in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let material = KeyMaterial::from_bytes(&[1; 32]).unwrap();
            let context = context("k", "v");
            let blob = material.encrypt((KEY, MATERIAL), &context, &plaintext).unwrap();
            prop_assert_eq!(open(&material, &blob, &context), Ok(plaintext));

            let mut changed = blob.clone();
            let bit = bit.index(blob.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(open(&material, &changed, &context), Err(InvalidCiphertext));
            prop_assert_eq!(open(&material, &blob[..cut.index(blob.len())], &context), Err(InvalidCiphertext));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(CiphertextBlob::parse(&bytes).is_err());
        }
    }
}
