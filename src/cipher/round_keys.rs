//! AES-256 key schedules (FIPS 197, 5.2) for the paths that use the processor's AES instructions.

#![allow(unsafe_code, reason = "AES instructions")]

use std::arch::x86_64::{
    __m128i, _mm_aesimc_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si32, _mm_set1_epi32, _mm_setzero_si128,
};
use std::mem::transmute;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const ROUNDS: usize = 14;

/// Round keys in the order of their use.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(transparent)]
pub(super) struct Schedule([__m128i; ROUNDS + 1]);

/// What one XTS key needs: the data key in both directions, the tweak key in one.
#[derive(ZeroizeOnDrop)]
pub(super) struct RoundKeys {
    pub(super) encrypt: Schedule,
    pub(super) decrypt: Schedule,
    pub(super) tweak: Schedule,
}

impl RoundKeys {
    #[target_feature(enable = "aes")]
    pub(super) fn new(key: &[u8; 64]) -> Self {
        let encrypt = Schedule::expand(&key[..32]);
        let decrypt = encrypt.inverted();
        Self { encrypt, decrypt, tweak: Schedule::expand(&key[32..]) }
    }
}

impl Schedule {
    /// KeyExpansion for a key of 32 bytes.
    #[target_feature(enable = "aes")]
    fn expand(key: &[u8]) -> Self {
        let mut words = Zeroizing::new([0; 4 * (ROUNDS + 1)]);
        for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut round_constant = 1;
        for at in 8..words.len() {
            let before = words[at - 1];
            let mixed = match at % 8 {
                0 => sub_word(before).rotate_right(8) ^ round_constant,
                4 => sub_word(before),
                _ => before,
            };
            words[at] = words[at - 8] ^ mixed;
            if at % 8 == 0 {
                round_constant <<= 1;
            }
        }
        let mut schedule = Self([_mm_setzero_si128(); ROUNDS + 1]);
        for (key, words) in schedule.0.iter_mut().zip(words.as_chunks::<4>().0) {
            *key = to_vector(words.iter().rev().fold(0, |number, word| (number << 32) | u128::from(*word)));
        }
        schedule
    }

    /// For the equivalent inverse cipher (FIPS 197, 5.3.5), which is what AESDEC computes.
    #[target_feature(enable = "aes")]
    fn inverted(&self) -> Self {
        let mut inverted = Self(self.0);
        inverted.0.reverse();
        for key in &mut inverted.0[1..ROUNDS] {
            *key = _mm_aesimc_si128(*key);
        }
        inverted
    }

    /// What is exclusive-ored with the state before round 1.
    pub(super) fn first(&self) -> __m128i {
        self.0[0]
    }

    pub(super) fn last(&self) -> __m128i {
        self.0[ROUNDS]
    }
}

/// SubWord: the S-box on each byte.
#[target_feature(enable = "aes")]
fn sub_word(word: u32) -> u32 {
    let everywhere = _mm_set1_epi32(word.cast_signed());
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(everywhere)).cast_unsigned()
}

/// The first byte of an AES block is the least significant of its number.
pub(super) fn to_vector(block: u128) -> __m128i {
    // SAFETY: both are 16 bytes, and every pattern of bits is a value of either.
    unsafe { transmute::<u128, __m128i>(block) }
}
