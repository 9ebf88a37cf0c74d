//! AES-256-XTS on whole blocks (IEEE 1619, NIST SP 800-38E): knows a key and a block number, nothing else.
//!
//! One module for each path, all with the same result: `vaes_avx512`, `vaes_avx2` and `aes_ni` give the processor's AES
//! instructions to `stream`, `portable` rests on the `aes` crate.

#[cfg(target_arch = "x86_64")]
mod aes_ni;
mod path;
mod portable;
#[cfg(target_arch = "x86_64")]
mod round_keys;
#[cfg(target_arch = "x86_64")]
mod stream;
#[cfg(target_arch = "x86_64")]
mod vaes_avx2;
#[cfg(target_arch = "x86_64")]
mod vaes_avx512;

#[cfg(test)]
mod tests;

use aes::Block;
use aes::cipher::Array;
use aes::cipher::consts::U256;
use aes::cipher::inout::InOutBuf;
use zeroize::ZeroizeOnDrop;

use path::Engine;
pub use path::{NoSuchPath, Path};

/// The unit of encryption: one XTS data unit, in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// One block as AES sees it.
type DataUnit = Array<Block, U256>;
const _: () = assert!(size_of::<DataUnit>() == BLOCK_SIZE);

/// Which block it is, counted from 0. Its tweak is this number as 128 bits, little-endian (IEEE 1619).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u64);

/// Both halves of an XTS key are the same. FIPS 140-3 (IG C.I) forbids it: the tweaks would be no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("both halves of the XTS key are the same")]
pub struct EqualHalves;

#[derive(Clone, Copy, Debug)]
enum Direction {
    Encrypt,
    Decrypt,
}

/// The key schedules of one XTS key, wiped on drop, and the path they are for.
///
/// Nothing in here but keys: it belongs in locked memory, and is neither copied nor printed.
pub struct XtsCipher(Engine);

impl ZeroizeOnDrop for XtsCipher {}

impl XtsCipher {
    /// For the fastest path that this processor has. `key`: 32 bytes for the data, then 32 for the tweaks, as in IEEE
    /// 1619.
    ///
    /// # Errors
    /// [`EqualHalves`]: no such key is accepted.
    pub fn new(key: &[u8; 64]) -> Result<Self, EqualHalves> {
        Self::with_path(key, Path::fastest())
    }

    /// For one path, to compare it with others.
    ///
    /// # Errors
    /// [`EqualHalves`]
    ///
    /// # Panics
    /// If this processor does not have the path: ask [`Path::is_available`] before.
    pub fn with_path(key: &[u8; 64], path: Path) -> Result<Self, EqualHalves> {
        assert!(path.is_available(), "this processor does not have the path {path}");
        let (data_key, tweak_key) = key.split_at(32);
        // Every byte is looked at, whatever the bytes before it were.
        let difference = data_key.iter().zip(tweak_key).fold(0, |seen, (a, b)| seen | (a ^ b));
        if difference == 0 {
            return Err(EqualHalves);
        }
        Ok(Self(Engine::new(path, key)))
    }

    /// Encrypts consecutive blocks, from `first` on.
    ///
    /// # Panics
    /// If the two lengths differ or are no multiple of [`BLOCK_SIZE`]: a bug of the caller.
    pub fn encrypt_blocks(&self, first: BlockNumber, plaintext: &[u8], ciphertext: &mut [u8]) {
        self.0.run(Direction::Encrypt, first.0.into(), apart(plaintext, ciphertext));
    }

    /// The same, with the ciphertext in the place of the plaintext.
    ///
    /// # Panics
    /// If the length is no multiple of [`BLOCK_SIZE`]: a bug of the caller.
    pub fn encrypt_blocks_in_place(&self, first: BlockNumber, blocks: &mut [u8]) {
        self.0.run(Direction::Encrypt, first.0.into(), in_place(blocks));
    }

    /// Decrypts consecutive blocks, from `first` on.
    ///
    /// # Panics
    /// If the two lengths differ or are no multiple of [`BLOCK_SIZE`]: a bug of the caller.
    pub fn decrypt_blocks(&self, first: BlockNumber, ciphertext: &[u8], plaintext: &mut [u8]) {
        self.0.run(Direction::Decrypt, first.0.into(), apart(ciphertext, plaintext));
    }

    /// The same, with the plaintext in the place of the ciphertext.
    ///
    /// # Panics
    /// If the length is no multiple of [`BLOCK_SIZE`]: a bug of the caller.
    pub fn decrypt_blocks_in_place(&self, first: BlockNumber, blocks: &mut [u8]) {
        self.0.run(Direction::Decrypt, first.0.into(), in_place(blocks));
    }
}

fn apart<'a, 'b>(input: &'a [u8], output: &'b mut [u8]) -> InOutBuf<'a, 'b, DataUnit> {
    assert_eq!(input.len(), output.len(), "as many bytes out as in");
    assert_whole_blocks(input.len());
    let input = DataUnit::slice_as_chunks(Block::slice_as_chunks(input).0).0;
    let output = DataUnit::slice_as_chunks_mut(Block::slice_as_chunks_mut(output).0).0;
    InOutBuf::new(input, output).expect("the lengths are the same")
}

fn in_place(blocks: &mut [u8]) -> InOutBuf<'_, '_, DataUnit> {
    assert_whole_blocks(blocks.len());
    InOutBuf::from(DataUnit::slice_as_chunks_mut(Block::slice_as_chunks_mut(blocks).0).0)
}

fn assert_whole_blocks(len: usize) {
    assert!(len.is_multiple_of(BLOCK_SIZE), "{len} bytes are not whole blocks of {BLOCK_SIZE}");
}
