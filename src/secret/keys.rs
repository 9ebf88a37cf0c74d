//! The keys of a volume, in locked memory. None can be copied or printed.

use std::sync::Arc;

use aes_gcm_siv::Aes256GcmSiv;
use aes_gcm_siv::aead::{Aead, Payload};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::cipher::XtsCipher;

use super::area::{LockedArea, LockedBox};
use super::stack::with_clean_stack;
use super::{SecretError, derive};

/// The 64 bytes that KMS made for one volume. Nothing is encrypted with them; every key in use is derived.
pub struct VolumeKey(LockedBox<[u8; 64]>);

impl VolumeKey {
    pub fn new(bytes: LockedBox<[u8; 64]>) -> Self {
        Self(bytes)
    }

    /// The one door out.
    pub fn expose_secret(&self) -> &[u8; 64] {
        &self.0
    }

    /// The cipher of one 1 TiB region: IEEE 1619-2025 wants no more than 2^36 blocks of 16 bytes under one key. It lies
    /// in the area of the volume key.
    ///
    /// # Errors
    /// [`SecretError::AreaFull`], [`SecretError::EqualHalves`]
    pub fn xts_cipher(&self, region: u32) -> Result<LockedBox<XtsCipher>, SecretError> {
        self.xts_cipher_in(self.0.area(), region)
    }

    /// The same in another area.
    ///
    /// # Errors
    /// As [`VolumeKey::xts_cipher`].
    pub fn xts_cipher_in(&self, area: &Arc<LockedArea>, region: u32) -> Result<LockedBox<XtsCipher>, SecretError> {
        with_clean_stack(|| {
            let mut key = Zeroizing::new([0; 64]);
            derive::xts_region(self.expose_secret(), region, &mut key);
            area.place(XtsCipher::new(&key)?)
        })
    }

    /// # Errors
    /// [`SecretError::AreaFull`]
    pub fn change_detection_key(&self) -> Result<ChangeDetectionKey, SecretError> {
        let mut key = self.0.area().place([0; 32])?;
        with_clean_stack(|| derive::change_detection(self.expose_secret(), &mut key));
        Ok(ChangeDetectionKey(key))
    }

    /// Of what KMS made for one snapshot, and not for a volume.
    ///
    /// # Errors
    /// [`SecretError::AreaFull`]
    pub fn sealing_key(&self) -> Result<SealingKey, SecretError> {
        let mut key = self.0.area().place([0; 32])?;
        with_clean_stack(|| derive::snapshot_seal(self.expose_secret(), &mut key));
        Ok(SealingKey(key))
    }

    /// # Errors
    /// [`SecretError::AreaFull`]
    pub fn header_mac_key(&self) -> Result<HeaderMacKey, SecretError> {
        let mut key = self.0.area().place([0; 64])?;
        with_clean_stack(|| derive::header_mac(self.expose_secret(), &mut key));
        Ok(HeaderMacKey(key))
    }
}

/// The key of the hashes that tell whether a chunk of ciphertext changed. Keyed, so that they say nothing to whoever does
/// not hold the volume key.
pub struct ChangeDetectionKey(LockedBox<[u8; 32]>);

impl ChangeDetectionKey {
    /// Of the parts, joined; BLAKE3 in its keyed mode, cut to 128 bits: nobody who could look for a collision has the key.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        let hash = *hasher.finalize().as_bytes();
        hasher.zeroize();
        *hash.first_chunk().expect("a hash has 32 bytes")
    }
}

/// Seals the manifest of one snapshot with AES-256-GCM-SIV (RFC 8452).
pub struct SealingKey(LockedBox<[u8; 32]>);

/// Random, and before what is sealed.
const NONCE_LEN: usize = 12;

impl SealingKey {
    /// # Errors
    /// The system has no random bytes.
    pub fn seal(&self, associated: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: plaintext, aad: associated };
        let sealed = with_clean_stack(|| self.cipher().encrypt(&nonce.into(), payload));
        Ok([&nonce[..], &sealed.expect("what is sealed is shorter than 64 GiB")].concat())
    }

    /// `None`: it was not sealed with this key for this place.
    #[must_use]
    pub fn open(&self, associated: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let payload = Payload { msg, aad: associated };
        with_clean_stack(|| self.cipher().decrypt(&(*nonce).into(), payload)).ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> Aes256GcmSiv {
        Aes256GcmSiv::new((&*self.0).into())
    }
}

/// The key of HMAC-SHA-256 (FIPS 198-1) over the header: is it ours?
pub struct HeaderMacKey(LockedBox<[u8; 64]>);

impl HeaderMacKey {
    /// The MAC over the parts, joined.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        with_clean_stack(|| self.over(parts).finalize().into_bytes().into())
    }

    /// Whether `expected` is the MAC over the parts, joined; in constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], expected: &[u8; 32]) -> bool {
        with_clean_stack(|| self.over(parts).verify(expected.into()).is_ok())
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        // 64 bytes are exactly one block of SHA-256.
        let mut mac = Hmac::<Sha256>::new((&*self.0).into());
        for part in parts {
            mac.update(part);
        }
        mac
    }
}
