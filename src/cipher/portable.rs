//! XTS over the `aes` crate: safe code, every architecture, and the crate's own choice of AES instructions.
//!
//! Tweaks, xor and AES run inside one backend closure, and so inside the function that has the CPU features enabled.
//! Everything on that way is `inline(always)` for the same reason.

use aes::cipher::consts::U16;
use aes::cipher::inout::InOutBuf;
use aes::cipher::{
    Array, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser,
};
use aes::{Aes256, Aes256Enc, Block};

use super::tweak::{RUN_LEN, TweakRun};

/// Data units whose tweaks are encrypted together.
const TWEAK_BATCH_LEN: usize = 64;

/// Encrypts consecutive data units of `unit_len` bytes (a multiple of 16), the first of which has the number `first`.
pub(super) fn encrypt(
    data_key: &Aes256,
    tweak_key: &Aes256Enc,
    first: u128,
    unit_len: usize,
    plaintext: &[u8],
    ciphertext: &mut [u8],
) {
    in_batches(tweak_key, first, unit_len, plaintext, ciphertext, |units| {
        data_key.encrypt_with_backend(units);
    });
}

/// The reverse of [`encrypt`].
pub(super) fn decrypt(
    data_key: &Aes256,
    tweak_key: &Aes256Enc,
    first: u128,
    unit_len: usize,
    ciphertext: &[u8],
    plaintext: &mut [u8],
) {
    in_batches(tweak_key, first, unit_len, ciphertext, plaintext, |units| {
        data_key.decrypt_with_backend(units);
    });
}

fn in_batches(
    tweak_key: &Aes256Enc,
    first: u128,
    unit_len: usize,
    input: &[u8],
    output: &mut [u8],
    process: impl Fn(DataUnits<'_>),
) {
    let batch_len = TWEAK_BATCH_LEN * unit_len;
    let mut number = first;
    for (input, output) in input.chunks(batch_len).zip(output.chunks_mut(batch_len)) {
        let mut tweaks = [Block::default(); TWEAK_BATCH_LEN];
        let tweaks = &mut tweaks[..input.len() / unit_len];
        for tweak in tweaks.iter_mut() {
            tweak.0 = number.to_le_bytes();
            number = number.wrapping_add(1);
        }
        tweak_key.encrypt_blocks(tweaks);
        process(DataUnits { tweaks, unit_len, input, output });
    }
}

/// Data units of `unit_len` bytes, and the encrypted tweak of each.
struct DataUnits<'a> {
    tweaks: &'a [Block],
    unit_len: usize,
    input: &'a [u8],
    output: &'a mut [u8],
}

impl DataUnits<'_> {
    #[inline(always)]
    fn process(self, aes: impl Fn(InOutBuf<'_, '_, Block>)) {
        let (input, _) = Array::slice_as_chunks(self.input);
        let (output, _) = Array::slice_as_chunks_mut(self.output);
        let unit_len = self.unit_len / size_of::<Block>();
        let units = input.chunks_exact(unit_len).zip(output.chunks_exact_mut(unit_len));
        for ((input, output), tweak) in units.zip(self.tweaks) {
            let mut tweaks = TweakRun::new(tweak);
            for (input, output) in input.chunks(RUN_LEN).zip(output.chunks_mut(RUN_LEN)) {
                tweaks.mask(input, output);
                aes((&mut *output).into());
                tweaks.mask_in_place(output);
                tweaks.advance();
            }
        }
    }
}

impl BlockSizeUser for DataUnits<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for DataUnits<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        self.process(|blocks| {
            let (batches, rest) = blocks.into_chunks();
            for batch in batches {
                backend.encrypt_par_blocks(batch);
            }
            backend.encrypt_tail_blocks(rest);
        });
    }
}

impl BlockCipherDecClosure for DataUnits<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        self.process(|blocks| {
            let (batches, rest) = blocks.into_chunks();
            for batch in batches {
                backend.decrypt_par_blocks(batch);
            }
            backend.decrypt_tail_blocks(rest);
        });
    }
}
