//! AES-256-XTS on whole blocks (IEEE 1619, NIST SP 800-38E): knows a key and a block number, nothing else.

mod portable;
mod tweak;

#[cfg(test)]
mod tests;

use aes::cipher::consts::{U32, U64};
use aes::cipher::{Array, KeyInit};
use aes::{Aes256, Aes256Enc};
use zeroize::ZeroizeOnDrop;

/// The unit of encryption: one XTS data unit, in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// Which block it is, counted from 0. Its tweak is this number as 128 bits, little-endian (IEEE 1619).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u64);

/// Both halves of an XTS key are the same. FIPS 140-3 (IG C.I) forbids it: the tweaks would be no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("both halves of the XTS key are the same")]
pub struct EqualHalves;

/// The key schedules of one XTS key, wiped on drop.
///
/// Nothing in here but keys: it belongs in locked memory, and is neither copied nor printed.
pub struct XtsCipher {
    data_key: Aes256,
    /// Encrypts only: a tweak is made the same way in both directions.
    tweak_key: Aes256Enc,
}

impl ZeroizeOnDrop for XtsCipher {}

impl XtsCipher {
    /// `key`: 32 bytes for the data, then 32 for the tweaks, as in IEEE 1619.
    ///
    /// # Errors
    /// [`EqualHalves`]: no such key is accepted.
    pub fn new(key: &[u8; 64]) -> Result<Self, EqualHalves> {
        let (data_key, tweak_key) = <&Array<u8, U64>>::from(key).split_ref::<U32>();
        // Every byte is looked at, whatever the bytes before it were.
        let difference = data_key.iter().zip(tweak_key).fold(0, |seen, (a, b)| seen | (a ^ b));
        if difference == 0 {
            return Err(EqualHalves);
        }
        Ok(Self { data_key: Aes256::new(data_key), tweak_key: Aes256Enc::new(tweak_key) })
    }

    /// Encrypts consecutive blocks, from `first` on.
    ///
    /// # Panics
    /// If the two lengths differ or are no multiple of [`BLOCK_SIZE`]: a bug of the caller.
    pub fn encrypt_blocks(&self, first: BlockNumber, plaintext: &[u8], ciphertext: &mut [u8]) {
        assert_whole_blocks(plaintext.len(), ciphertext.len());
        portable::encrypt(&self.data_key, &self.tweak_key, first.0.into(), BLOCK_SIZE, plaintext, ciphertext);
    }

    /// Decrypts consecutive blocks, from `first` on.
    ///
    /// # Panics
    /// If the two lengths differ or are no multiple of [`BLOCK_SIZE`]: a bug of the caller.
    pub fn decrypt_blocks(&self, first: BlockNumber, ciphertext: &[u8], plaintext: &mut [u8]) {
        assert_whole_blocks(ciphertext.len(), plaintext.len());
        portable::decrypt(&self.data_key, &self.tweak_key, first.0.into(), BLOCK_SIZE, ciphertext, plaintext);
    }
}

fn assert_whole_blocks(input_len: usize, output_len: usize) {
    assert_eq!(input_len, output_len, "as many bytes out as in");
    assert!(input_len.is_multiple_of(BLOCK_SIZE), "{input_len} bytes are not whole blocks of {BLOCK_SIZE}");
}
