//! XTS tweaks within a data unit: multiplication by x in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1, the first byte the
//! least significant (IEEE 1619).

use aes::Block;
use aes::cipher::consts::U8;

/// How many consecutive tweaks are made at a time: the largest batch of AES blocks that any backend takes at once.
pub(super) const RUN_LEN: usize = 64;

/// The tweaks of `RUN_LEN` consecutive 16-byte blocks, as (low, high) halves.
///
/// A run, because then no tweak waits for its neighbour: each steps by x^64 on its own, in plain 64-bit arithmetic that
/// the compiler turns into vectors.
pub(super) struct TweakRun([[u64; 2]; RUN_LEN]);

impl TweakRun {
    /// The run that begins with `first`, the encrypted tweak of a data unit.
    #[inline(always)]
    pub(super) fn new(first: &Block) -> Self {
        let (low, high) = first.split_ref::<U8>();
        let mut run = [[0; 2]; RUN_LEN];
        run[0] = [u64::from_le_bytes(low.0), u64::from_le_bytes(high.0)];
        // The tweak `known` places further on is the same times x^known, so each round doubles what is known.
        let mut known = 1;
        while known < RUN_LEN {
            let (done, rest) = run.split_at_mut(known);
            for (next, tweak) in rest.iter_mut().zip(done) {
                *next = times_x_to(*tweak, known);
            }
            known *= 2;
        }
        Self(run)
    }

    /// Moves on to the `RUN_LEN` tweaks that follow: each one times x^64.
    #[inline(always)]
    pub(super) fn advance(&mut self) {
        for tweak in &mut self.0 {
            let [low, high] = *tweak;
            *tweak = [high ^ (high << 1) ^ (high << 2) ^ (high << 7), low ^ (high >> 63) ^ (high >> 62) ^ (high >> 57)];
        }
    }

    /// `output = input xor tweaks`.
    #[inline(always)]
    pub(super) fn mask(&self, input: &[Block], output: &mut [Block]) {
        for ((output, input), tweak) in output.iter_mut().zip(input).zip(&self.0) {
            *output = xor(input, tweak);
        }
    }

    /// `blocks ^= tweaks`.
    #[inline(always)]
    pub(super) fn mask_in_place(&self, blocks: &mut [Block]) {
        for (block, tweak) in blocks.iter_mut().zip(&self.0) {
            *block = xor(block, tweak);
        }
    }
}

/// `power`: 1 to 57, so that the carried bits, reduced, stay in the low half.
#[inline(always)]
fn times_x_to([low, high]: [u64; 2], power: usize) -> [u64; 2] {
    let carry = high >> (64 - power);
    [(low << power) ^ carry ^ (carry << 1) ^ (carry << 2) ^ (carry << 7), (high << power) | (low >> (64 - power))]
}

#[inline(always)]
fn xor(block: &Block, [low, high]: &[u64; 2]) -> Block {
    let tweak = u128::from(*low) | (u128::from(*high) << 64);
    (u128::from_le_bytes(block.0) ^ tweak).to_le_bytes().into()
}
