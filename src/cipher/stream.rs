//! XTS data units through the processor's AES instructions, eight vectors at a time, whatever their width.
//!
//! An AES block becomes `aes(block ^ tweak) ^ tweak`. The second of the two goes into the last round key, and it is this
//! key that is stepped from one AES block to the next: the last round then costs nothing more, and the first one only the
//! difference of two round keys.

#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "all of it needs instructions that only the caller knows are there"
)]

use std::arch::x86_64::__m128i;

use aes::cipher::consts::U16;
use aes::cipher::inout::{InOut, InOutBuf};
use zeroize::optimization_barrier;

use super::round_keys::{RoundKeys, Schedule, to_vector};
use super::{BLOCK_SIZE, DataUnit};

/// Vectors that go through the AES units together: two units, each with four rounds under way.
pub(super) const IN_FLIGHT: usize = 8;

/// x^7 + x^2 + x + 1, which is x^128 (IEEE 1619).
pub(super) const REDUCTION: i64 = 0x87;

/// Data units whose numbers are encrypted together.
type Together = U16;
const TOGETHER: usize = 16;

/// As many AES blocks as fit a register. Tweaks are in GF(2^128) modulo x^128 + x^7 + x^2 + x + 1 (IEEE 1619).
///
/// # Safety
/// Every function needs the processor features of its path.
pub(super) trait Vector: Copy {
    /// Reads as many bytes as a vector has.
    unsafe fn load(from: *const u8) -> Self;

    /// Writes as many bytes as a vector has.
    unsafe fn store(self, to: *mut u8);

    /// The same AES block everywhere.
    unsafe fn broadcast(block: __m128i) -> Self;

    unsafe fn xor(self, other: Self) -> Self;

    /// All of AES on one block.
    unsafe fn encrypt_one(block: __m128i, keys: &Schedule) -> __m128i;

    /// Rounds 1 to 13.
    unsafe fn inner_rounds<const ENCRYPT: bool>(state: &mut [Self; IN_FLIGHT], keys: &Schedule);

    unsafe fn last_round<const ENCRYPT: bool>(self, key: Self) -> Self;

    /// `first` times 1, x, x^2 and so on.
    unsafe fn first_tweaks(first: __m128i) -> [Self; IN_FLIGHT];

    /// Times that power of x by which [`Vector::advance`] steps.
    unsafe fn step(self) -> Self;

    /// On to the tweaks that follow. Where all have been exclusive-ored with some `c`, they are again, if `correction` is
    /// `step(c) ^ c`.
    unsafe fn advance(tweaks: &mut [Self; IN_FLIGHT], correction: Self);
}

/// Takes data units, the first of which has the number `first`, from their input to their output.
///
/// # Safety
/// The processor has AES instructions and the features of `V`.
#[inline(always)]
pub(super) unsafe fn run<V: Vector, const ENCRYPT: bool>(
    keys: &RoundKeys,
    first: u128,
    units: InOutBuf<'_, '_, DataUnit>,
) {
    let data_keys = if ENCRYPT { &keys.encrypt } else { &keys.decrypt };
    let last_key = V::broadcast(data_keys.last());
    let difference = V::broadcast(data_keys.first()).xor(last_key);
    let correction = last_key.step().xor(last_key);
    let mut number = first;
    let mut tweaks = [to_vector(0); TOGETHER];
    let (batches, rest) = units.into_chunks::<Together>();
    for units in batches.into_iter().map(InOut::into_buf).chain([rest]) {
        for tweak in &mut tweaks[..units.len()] {
            *tweak = V::encrypt_one(to_vector(number), &keys.tweak);
            number = number.wrapping_add(1);
        }
        for (unit, tweak) in units.into_iter().zip(&tweaks) {
            let mut last_keys = V::first_tweaks(*tweak);
            for key in &mut last_keys {
                *key = key.xor(last_key);
            }
            run_unit::<V, ENCRYPT>(data_keys, difference, correction, last_keys, unit);
        }
    }
    tweaks = [to_vector(0); TOGETHER];
    optimization_barrier(&tweaks);
}

#[inline(always)]
unsafe fn run_unit<V: Vector, const ENCRYPT: bool>(
    keys: &Schedule,
    difference: V,
    correction: V,
    mut last_keys: [V; IN_FLIGHT],
    unit: InOut<'_, '_, DataUnit>,
) {
    let (input, output) = unit.into_raw();
    let (mut input, mut output) = (input.cast::<u8>(), output.cast::<u8>());
    let end = input.wrapping_add(BLOCK_SIZE);
    loop {
        let mut state = last_keys;
        for (at, state) in state.iter_mut().enumerate() {
            *state = V::load(input.wrapping_add(at * size_of::<V>())).xor(state.xor(difference));
        }
        V::inner_rounds::<ENCRYPT>(&mut state, keys);
        for (at, (state, key)) in state.iter().zip(last_keys).enumerate() {
            state.last_round::<ENCRYPT>(key).store(output.wrapping_add(at * size_of::<V>()));
        }
        input = input.wrapping_add(size_of_val(&state));
        output = output.wrapping_add(size_of_val(&state));
        if input == end {
            return;
        }
        V::advance(&mut last_keys, correction);
    }
}

// Assembly, for two reasons. Left to itself the compiler takes one register after the other through all rounds, which
// saves registers and leaves the AES units idle. And it leaves copies of round keys on the stack.

/// Rounds 1 to 13 on eight registers of a class.
macro_rules! inner_rounds {
    ($state:ident, $keys:ident, $class:ident, $load:literal, $round:literal) => {{
        let mut key = $state[0];
        std::arch::asm!(
            ".irp round, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13",
            $load,
            ".irp state, {0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}",
            $round,
            ".endr",
            ".endr",
            inout($class) $state[0],
            inout($class) $state[1],
            inout($class) $state[2],
            inout($class) $state[3],
            inout($class) $state[4],
            inout($class) $state[5],
            inout($class) $state[6],
            inout($class) $state[7],
            key = inout($class) key,
            keys = in(reg) $keys,
            options(pure, readonly, nostack, preserves_flags),
        );
        let _ = key;
    }};
}
pub(super) use inner_rounds;

/// All of AES on one register. The three instructions lack their last operand, which is a round key in memory.
macro_rules! encrypt_one {
    ($state:ident, $keys:ident, $whiten:literal, $round:literal, $last_round:literal) => {
        std::arch::asm!(
            concat!($whiten, " [{keys}]"),
            ".irp round, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13",
            concat!($round, " [{keys} + 16 * \\round]"),
            ".endr",
            concat!($last_round, " [{keys} + 16 * 14]"),
            state = inout(xmm_reg) $state,
            keys = in(reg) $keys,
            options(pure, readonly, nostack, preserves_flags),
        )
    };
}
pub(super) use encrypt_one;
