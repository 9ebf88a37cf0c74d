//! What a computation with keys leaves on the stack, wiped.

use std::hint::black_box;

/// Hash states, key schedules under construction and moved values come to a few KiB; the rest is margin.
const DERIVATION_BYTES: usize = 32 * 1024;

/// Round keys and tweaks that found no register. Small, because every request pays for it.
const CIPHER_BYTES: usize = 8 * 1024;

/// Runs `work` and then overwrites the stack that it has used: hashes and key expansion keep copies there that no
/// destructor reaches.
pub(super) fn with_clean_stack<R>(work: impl FnOnce() -> R) -> R {
    let result = in_own_frame(work);
    overwrite::<DERIVATION_BYTES>();
    result
}

/// The same for a call of the cipher, whose thread may rest for days afterwards.
pub fn with_clean_cipher_stack<R>(call: impl FnOnce() -> R) -> R {
    let result = in_own_frame(call);
    overwrite::<CIPHER_BYTES>();
    result
}

// The two frames begin at the same place, so that the second covers the first.

#[inline(never)]
fn in_own_frame<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[inline(never)]
fn overwrite<const BYTES: usize>() {
    // Whoever may look at it cannot be told that it is not needed.
    black_box(&mut [0u8; BYTES]);
}
