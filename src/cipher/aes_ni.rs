//! The AES instructions on 128-bit registers: one AES block in each.

#![allow(unsafe_code, unsafe_op_in_unsafe_fn, reason = "instructions that not every processor has")]

use std::arch::asm;
use std::arch::x86_64::{
    __m128i, _mm_add_epi64, _mm_aesdeclast_si128, _mm_aesenclast_si128, _mm_and_si128, _mm_cvtsi128_si64,
    _mm_loadu_si128, _mm_set_epi64x, _mm_shuffle_epi32, _mm_srai_epi32, _mm_storeu_si128, _mm_unpackhi_epi64,
    _mm_xor_si128,
};

use aes::cipher::inout::InOutBuf;

use super::round_keys::{RoundKeys, Schedule};
use super::stream::{self, IN_FLIGHT, Vector, encrypt_one, inner_rounds};
use super::{DataUnit, Direction};

/// # Safety
/// The processor has the feature below.
#[target_feature(enable = "aes")]
pub(super) unsafe fn run(keys: &RoundKeys, direction: Direction, first: u128, units: InOutBuf<'_, '_, DataUnit>) {
    match direction {
        Direction::Encrypt => stream::run::<__m128i, true>(keys, first, units),
        Direction::Decrypt => stream::run::<__m128i, false>(keys, first, units),
    }
}

impl Vector for __m128i {
    #[inline]
    unsafe fn load(from: *const u8) -> Self {
        _mm_loadu_si128(from.cast())
    }

    #[inline]
    unsafe fn store(self, to: *mut u8) {
        _mm_storeu_si128(to.cast(), self);
    }

    #[inline]
    unsafe fn broadcast(block: __m128i) -> Self {
        block
    }

    #[inline]
    unsafe fn xor(self, other: Self) -> Self {
        _mm_xor_si128(self, other)
    }

    #[inline]
    #[target_feature(enable = "aes")]
    unsafe fn inner_rounds<const ENCRYPT: bool>(state: &mut [Self; IN_FLIGHT], keys: &Schedule) {
        if ENCRYPT {
            inner_rounds!(state, keys, xmm_reg, "movdqa {key}, [{keys} + 16 * \\round]", "aesenc \\state, {key}");
        } else {
            inner_rounds!(state, keys, xmm_reg, "movdqa {key}, [{keys} + 16 * \\round]", "aesdec \\state, {key}");
        }
    }

    #[inline]
    #[target_feature(enable = "aes")]
    unsafe fn last_round<const ENCRYPT: bool>(self, key: Self) -> Self {
        if ENCRYPT { _mm_aesenclast_si128(self, key) } else { _mm_aesdeclast_si128(self, key) }
    }

    #[inline]
    #[target_feature(enable = "aes")]
    unsafe fn encrypt_one(block: __m128i, keys: &Schedule) -> __m128i {
        let mut state = block;
        encrypt_one!(state, keys, "pxor {state},", "aesenc {state},", "aesenclast {state},");
        state
    }

    #[inline]
    unsafe fn first_tweaks(first: __m128i) -> [Self; IN_FLIGHT] {
        let mut tweaks = [first; IN_FLIGHT];
        for at in 1..IN_FLIGHT {
            tweaks[at] = tweaks[at - 1].step();
        }
        tweaks
    }

    /// Times x.
    #[inline]
    unsafe fn step(self) -> Self {
        // All ones in the low half's place if the high half carries, and the other way round.
        let carries = _mm_srai_epi32::<31>(_mm_shuffle_epi32::<0b00_01_00_11>(self));
        _mm_xor_si128(_mm_add_epi64(self, self), _mm_and_si128(carries, _mm_set_epi64x(1, 0x87)))
    }

    /// In general-purpose registers, which have nothing else to do: each vector instruction would take the place of one
    /// that does a round.
    #[inline]
    unsafe fn advance(tweaks: &mut [Self; IN_FLIGHT], correction: Self) {
        let [mut low, mut high] = to_halves(tweaks[IN_FLIGHT - 1]);
        let [correction_low, correction_high] = to_halves(correction);
        for tweak in tweaks {
            // In assembly because compilers make a double shift of it, which is slow on many processors.
            asm!(
                "mov {carry}, {high}",
                "sar {carry}, 63",
                "and {carry:e}, 0x87",
                "add {low}, {low}",
                "adc {high}, {high}",
                "xor {low}, {carry}",
                low = inout(reg) low,
                high = inout(reg) high,
                carry = out(reg) _,
                options(pure, nomem, nostack),
            );
            low ^= correction_low;
            high ^= correction_high;
            *tweak = _mm_set_epi64x(high.cast_signed(), low.cast_signed());
        }
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn to_halves(vector: __m128i) -> [u64; 2] {
    [vector, _mm_unpackhi_epi64(vector, vector)].map(|half| _mm_cvtsi128_si64(half).cast_unsigned())
}
