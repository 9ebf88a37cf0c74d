//! What a computation with keys leaves on the stack, wiped.

use std::hint::black_box;

use zeroize::Zeroize;

/// Hash states, key schedules under construction and moved values come to a few KiB; the rest is margin.
const DEPTH_BYTES: usize = 32 * 1024;

/// Runs `work` and then overwrites the stack that it has used: hashes and key expansion keep copies there that no
/// destructor reaches.
pub(super) fn with_clean_stack<R>(work: impl FnOnce() -> R) -> R {
    let result = in_own_frame(work);
    overwrite();
    result
}

// The two frames begin at the same place, so that the second covers the first.

#[inline(never)]
fn in_own_frame<R>(work: impl FnOnce() -> R) -> R {
    work()
}

#[inline(never)]
fn overwrite() {
    let mut depth = [0u8; DEPTH_BYTES];
    depth.zeroize();
    black_box(&mut depth);
}
