//! Targets that misbehave.

use std::hint::black_box;

pub(super) fn panic(data: &[u8]) {
    assert!(data.len() < 2, "a decoder that panics");
}

/// What a length field can do that nobody checks.
pub(super) fn allocation(data: &[u8]) {
    if data.len() >= 2 {
        black_box(Vec::<u8>::with_capacity(1 << 20));
    }
}

pub(super) fn hang(data: &[u8]) {
    while data.len() >= 2 {
        black_box(data);
    }
}
