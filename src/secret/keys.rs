//! The keys of a volume, in locked memory. None can be copied or printed.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::cipher::XtsCipher;

use super::area::LockedBox;
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
        with_clean_stack(|| {
            let mut key = Zeroizing::new([0; 64]);
            derive::xts_region(self.expose_secret(), region, &mut key);
            self.0.area().place(XtsCipher::new(&key)?)
        })
    }

    /// # Errors
    /// [`SecretError::AreaFull`]
    pub fn header_mac_key(&self) -> Result<HeaderMacKey, SecretError> {
        let mut key = self.0.area().place([0; 64])?;
        with_clean_stack(|| derive::header_mac(self.expose_secret(), &mut key));
        Ok(HeaderMacKey(key))
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
