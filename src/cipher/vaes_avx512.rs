//! VAES on 512-bit registers: four AES blocks in each.

#![allow(unsafe_code, unsafe_op_in_unsafe_fn, reason = "instructions that not every processor has")]

use std::arch::x86_64::{
    __m128i, __m512i, _mm256_zeroupper, _mm512_aesdeclast_epi128, _mm512_aesenclast_epi128, _mm512_broadcast_i32x4,
    _mm512_bslli_epi128, _mm512_bsrli_epi128, _mm512_clmulepi64_epi128, _mm512_loadu_si512, _mm512_set_epi64,
    _mm512_set1_epi64, _mm512_sllv_epi64, _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_sub_epi64, _mm512_xor_si512,
};

use aes::cipher::inout::InOutBuf;

use super::round_keys::{RoundKeys, Schedule};
use super::stream::{self, IN_FLIGHT, REDUCTION, Vector, encrypt_one, inner_rounds};
use super::{DataUnit, Direction};

/// # Safety
/// The processor has the features below.
#[target_feature(enable = "avx512f,avx512bw,vaes,vpclmulqdq,aes")]
pub(super) unsafe fn run(keys: &RoundKeys, direction: Direction, first: u128, units: InOutBuf<'_, '_, DataUnit>) {
    match direction {
        Direction::Encrypt => stream::run::<__m512i, true>(keys, first, units),
        Direction::Decrypt => stream::run::<__m512i, false>(keys, first, units),
    }
    // Dirty upper halves would slow down whoever uses SSE next.
    _mm256_zeroupper();
}

impl Vector for __m512i {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const u8) -> Self {
        _mm512_loadu_si512(from.cast())
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn store(self, to: *mut u8) {
        _mm512_storeu_si512(to.cast(), self);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn broadcast(block: __m128i) -> Self {
        _mm512_broadcast_i32x4(block)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn xor(self, other: Self) -> Self {
        _mm512_xor_si512(self, other)
    }

    #[inline]
    #[target_feature(enable = "avx512f,vaes")]
    unsafe fn inner_rounds<const ENCRYPT: bool>(state: &mut [Self; IN_FLIGHT], keys: &Schedule) {
        if ENCRYPT {
            inner_rounds!(
                state,
                keys,
                zmm_reg,
                "vbroadcasti32x4 {key}, [{keys} + 16 * \\round]",
                "vaesenc \\state, \\state, {key}"
            );
        } else {
            inner_rounds!(
                state,
                keys,
                zmm_reg,
                "vbroadcasti32x4 {key}, [{keys} + 16 * \\round]",
                "vaesdec \\state, \\state, {key}"
            );
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,vaes")]
    unsafe fn last_round<const ENCRYPT: bool>(self, key: Self) -> Self {
        if ENCRYPT { _mm512_aesenclast_epi128(self, key) } else { _mm512_aesdeclast_epi128(self, key) }
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
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn first_tweaks(first: __m128i) -> [Self; IN_FLIGHT] {
        let first = _mm512_broadcast_i32x4(first);
        // Each from the first, so that none waits for another.
        [0, 4, 8, 12, 16, 20, 24, 28].map(|power| {
            let [a, b, c, d] = [power, power + 1, power + 2, power + 3];
            times_x_to(first, _mm512_set_epi64(d, d, c, c, b, b, a, a))
        })
    }

    /// Times x^32: the four tweaks of each of the eight vectors.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn step(self) -> Self {
        let carried = _mm512_clmulepi64_epi128::<0x00>(_mm512_bsrli_epi128::<12>(self), _mm512_set1_epi64(REDUCTION));
        _mm512_xor_si512(_mm512_bslli_epi128::<4>(self), carried)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
    unsafe fn advance(tweaks: &mut [Self; IN_FLIGHT], correction: Self) {
        *tweaks = tweaks.map(|tweak| _mm512_xor_si512(tweak.step(), correction));
    }
}

/// `powers`: 0 to 57 in both halves of each AES block, so that what is carried out of it, reduced, fits its low half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,vpclmulqdq")]
fn times_x_to(tweaks: __m512i, powers: __m512i) -> __m512i {
    let carried = _mm512_srlv_epi64(tweaks, _mm512_sub_epi64(_mm512_set1_epi64(64), powers));
    let reduced = _mm512_clmulepi64_epi128::<0x01>(carried, _mm512_set1_epi64(REDUCTION));
    let into_high = _mm512_bslli_epi128::<8>(carried);
    _mm512_xor_si512(_mm512_sllv_epi64(tweaks, powers), _mm512_xor_si512(into_high, reduced))
}
