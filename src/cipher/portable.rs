//! XTS over the `aes` crate: safe code, every architecture, and the crate's own choice of AES instructions.
//!
//! Tweaks, exclusive or and AES run inside one backend closure, and so inside the function that has the CPU features
//! enabled. Everything on that way is `inline(always)` for the same reason.

use std::mem::swap;

use aes::cipher::array::ArraySize;
use aes::cipher::consts::{U8, U16, U64};
use aes::cipher::inout::{InOut, InOutBuf};
use aes::cipher::{
    Array, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
};
use aes::{Aes256, Aes256Enc, Block};
use zeroize::optimization_barrier;

use super::{DataUnit, Direction};

/// As many data units have their tweaks encrypted together.
type TweakBatch = U16;

pub(super) struct PortableKeys {
    data: Aes256,
    /// Encrypts only: a tweak is made the same way in both directions.
    tweak: Aes256Enc,
}

impl PortableKeys {
    pub(super) fn new(key: &[u8; 64]) -> Self {
        let (data, tweak) = <&Array<u8, U64>>::from(key).split_ref();
        Self { data: Aes256::new(data), tweak: Aes256Enc::new(tweak) }
    }

    pub(super) fn run(&self, direction: Direction, first: u128, units: InOutBuf<'_, '_, DataUnit>) {
        let mut number = first;
        let mut tweaks = Array::<Block, TweakBatch>::default();
        let (batches, rest) = units.into_chunks::<TweakBatch>();
        for units in batches.into_iter().map(InOut::into_buf).chain([rest]) {
            let tweaks = &mut tweaks[..units.len()];
            for tweak in tweaks.iter_mut() {
                tweak.0 = number.to_le_bytes();
                number = number.wrapping_add(1);
            }
            self.tweak.encrypt_blocks(tweaks);
            let batch = Batch { tweaks, units };
            match direction {
                Direction::Encrypt => self.data.encrypt_with_backend(batch),
                Direction::Decrypt => self.data.decrypt_with_backend(batch),
            }
        }
        wipe(&mut tweaks);
    }
}

/// Data units, and the encrypted tweak of each.
struct Batch<'a, 'i, 'o> {
    tweaks: &'a [Block],
    units: InOutBuf<'i, 'o, DataUnit>,
}

impl Batch<'_, '_, '_> {
    /// `aes` takes up to `N` AES blocks in place.
    #[inline(always)]
    fn run<N: ArraySize>(self, aes: impl Fn(&mut [Block])) {
        let mut tweaks = [Array::<Block, N>::default(), Array::default()];
        // Apart from input and output, so that the compiler need not ask whether those overlap.
        let mut state = Array::<Block, N>::default();
        for (unit, first) in self.units.into_iter().zip(self.tweaks) {
            let mut series = Series::new(first);
            let [now, ahead] = &mut tweaks;
            let (mut now, mut ahead) = (now, ahead);
            now.fill_with(|| series.next());
            let (runs, rest) = unit.into_buf().into_chunks::<N>();
            for blocks in runs.into_iter().map(InOut::into_buf).chain([rest]) {
                // Ahead, because tweaks are written in halves, and a wide read would wait until those are in the cache.
                ahead.fill_with(|| series.next());
                let (tweaks, state) = (&now[..blocks.len()], &mut state[..blocks.len()]);
                xor(blocks.get_in(), tweaks, state);
                aes(state);
                xor(state, tweaks, blocks.into_out());
                swap(&mut now, &mut ahead);
            }
        }
        tweaks.iter_mut().for_each(|tweaks| wipe(tweaks));
        wipe(&mut state);
    }
}

#[inline(always)]
fn xor(left: &[Block], right: &[Block], output: &mut [Block]) {
    let (left, right) = (Block::slice_as_flattened(left), Block::slice_as_flattened(right));
    let output = Block::slice_as_flattened_mut(output);
    for ((left, right), output) in left.iter().zip(right).zip(output) {
        *output = left ^ right;
    }
}

#[inline(always)]
fn wipe(blocks: &mut [Block]) {
    blocks.fill(Block::default());
    optimization_barrier(blocks);
}

/// The tweaks of a data unit: the first one times x^0, x^1 and so on, in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1
/// (IEEE 1619).
struct Series {
    low: u64,
    high: u64,
}

impl Series {
    #[inline(always)]
    fn new(first: &Block) -> Self {
        let (low, high) = first.split_ref::<U8>();
        Self { low: u64::from_le_bytes(low.0), high: u64::from_le_bytes(high.0) }
    }

    #[inline(always)]
    fn next(&mut self) -> Block {
        let tweak = u128::from(self.low) | (u128::from(self.high) << 64);
        let reduction = 0u64.wrapping_sub(self.high >> 63) & 0x87;
        self.high = (self.high << 1) | (self.low >> 63);
        self.low = (self.low << 1) ^ reduction;
        tweak.to_le_bytes().into()
    }
}

impl BlockSizeUser for Batch<'_, '_, '_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Batch<'_, '_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        self.run::<B::ParBlocksSize>(|blocks| {
            let (batches, rest) = InOutBuf::from(blocks).into_chunks();
            for batch in batches {
                backend.encrypt_par_blocks(batch);
            }
            backend.encrypt_tail_blocks(rest);
        });
    }
}

impl BlockCipherDecClosure for Batch<'_, '_, '_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        self.run::<B::ParBlocksSize>(|blocks| {
            let (batches, rest) = InOutBuf::from(blocks).into_chunks();
            for batch in batches {
                backend.decrypt_par_blocks(batch);
            }
            backend.decrypt_tail_blocks(rest);
        });
    }
}
