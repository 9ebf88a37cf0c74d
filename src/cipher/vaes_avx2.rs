//! VAES on 256-bit registers: two AES blocks in each.

#![allow(unsafe_code, unsafe_op_in_unsafe_fn, reason = "instructions that not every processor has")]

use std::arch::x86_64::{
    __m128i, __m256i, _mm256_aesdeclast_epi128, _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256,
    _mm256_bslli_epi128, _mm256_bsrli_epi128, _mm256_clmulepi64_epi128, _mm256_loadu_si256, _mm256_set_epi64x,
    _mm256_set1_epi64x, _mm256_sllv_epi64, _mm256_srlv_epi64, _mm256_storeu_si256, _mm256_sub_epi64, _mm256_xor_si256,
    _mm256_zeroupper,
};

use aes::cipher::inout::InOutBuf;

use super::round_keys::{RoundKeys, Schedule};
use super::stream::{self, IN_FLIGHT, REDUCTION, Vector, encrypt_one, inner_rounds};
use super::{DataUnit, Direction};

/// # Safety
/// The processor has the features below.
#[target_feature(enable = "avx2,vaes,vpclmulqdq,aes")]
pub(super) unsafe fn run(keys: &RoundKeys, direction: Direction, first: u128, units: InOutBuf<'_, '_, DataUnit>) {
    match direction {
        Direction::Encrypt => stream::run::<__m256i, true>(keys, first, units),
        Direction::Decrypt => stream::run::<__m256i, false>(keys, first, units),
    }
    // Dirty upper halves would slow down whoever uses SSE next.
    _mm256_zeroupper();
}

impl Vector for __m256i {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(from: *const u8) -> Self {
        _mm256_loadu_si256(from.cast())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn store(self, to: *mut u8) {
        _mm256_storeu_si256(to.cast(), self);
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn broadcast(block: __m128i) -> Self {
        _mm256_broadcastsi128_si256(block)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn xor(self, other: Self) -> Self {
        _mm256_xor_si256(self, other)
    }

    #[inline]
    #[target_feature(enable = "avx2,vaes")]
    unsafe fn inner_rounds<const ENCRYPT: bool>(state: &mut [Self; IN_FLIGHT], keys: &Schedule) {
        if ENCRYPT {
            inner_rounds!(
                state,
                keys,
                ymm_reg,
                "vbroadcasti128 {key}, [{keys} + 16 * \\round]",
                "vaesenc \\state, \\state, {key}"
            );
        } else {
            inner_rounds!(
                state,
                keys,
                ymm_reg,
                "vbroadcasti128 {key}, [{keys} + 16 * \\round]",
                "vaesdec \\state, \\state, {key}"
            );
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,vaes")]
    unsafe fn last_round<const ENCRYPT: bool>(self, key: Self) -> Self {
        if ENCRYPT { _mm256_aesenclast_epi128(self, key) } else { _mm256_aesdeclast_epi128(self, key) }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    unsafe fn encrypt_one(block: __m128i, keys: &Schedule) -> __m128i {
        let mut state = block;
        encrypt_one!(
            state,
            keys,
            "vpxor {state}, {state},",
            "vaesenc {state}, {state},",
            "vaesenclast {state}, {state},"
        );
        state
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn first_tweaks(first: __m128i) -> [Self; IN_FLIGHT] {
        let first = _mm256_broadcastsi128_si256(first);
        // Each from the first, so that none waits for another.
        [0, 2, 4, 6, 8, 10, 12, 14]
            .map(|power| times_x_to(first, _mm256_set_epi64x(power + 1, power + 1, power, power)))
    }

    /// Times x^16: the two tweaks of each of the eight vectors.
    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn step(self) -> Self {
        let carried = _mm256_clmulepi64_epi128::<0x00>(_mm256_bsrli_epi128::<14>(self), _mm256_set1_epi64x(REDUCTION));
        _mm256_xor_si256(_mm256_bslli_epi128::<2>(self), carried)
    }

    #[inline]
    #[target_feature(enable = "avx2,vpclmulqdq")]
    unsafe fn advance(tweaks: &mut [Self; IN_FLIGHT], correction: Self) {
        *tweaks = tweaks.map(|tweak| _mm256_xor_si256(tweak.step(), correction));
    }
}

/// `powers`: 0 to 57 in both halves of each AES block, so that what is carried out of it, reduced, fits its low half.
#[inline]
#[target_feature(enable = "avx2,vpclmulqdq")]
fn times_x_to(tweaks: __m256i, powers: __m256i) -> __m256i {
    let carried = _mm256_srlv_epi64(tweaks, _mm256_sub_epi64(_mm256_set1_epi64x(64), powers));
    let reduced = _mm256_clmulepi64_epi128::<0x01>(carried, _mm256_set1_epi64x(REDUCTION));
    let into_high = _mm256_bslli_epi128::<8>(carried);
    _mm256_xor_si256(_mm256_sllv_epi64(tweaks, powers), _mm256_xor_si256(into_high, reduced))
}
