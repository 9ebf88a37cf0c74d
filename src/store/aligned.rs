//! Memory that a store can take past the page cache.

use std::ops::{Deref, DerefMut};

use super::ALIGNMENT;

const ALIGNMENT_BYTES: usize = 4096;
const _: () = assert!(ALIGNMENT_BYTES as u64 == ALIGNMENT, "one alignment");

/// Bytes from a multiple of [`ALIGNMENT`] on.
#[derive(Default)]
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    pub fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGNMENT_BYTES];
        let start = memory.as_ptr().align_offset(ALIGNMENT_BYTES);
        assert!(start <= ALIGNMENT_BYTES, "a byte can be aligned");
        Self { memory, start, len }
    }
}

impl Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..][..self.len]
    }
}
