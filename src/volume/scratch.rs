//! Buffers that one worker thread keeps, so that no request allocates.

use zeroize::Zeroize;

use crate::cipher::BLOCK_SIZE;

/// What one worker needs beside the caller's own buffer. Make one per thread and keep it.
pub struct Scratch {
    /// Ciphertext on its way from or to the store.
    pub(super) ciphertext: Vec<u8>,
    /// The plaintext of one block that a request covers only in part.
    pub(super) block: Box<[u8; BLOCK_SIZE]>,
}

impl Scratch {
    /// The largest request the front-end makes; longer ones are served in pieces of this size.
    pub const LEN_BYTES: usize = 1 << 20;
}

impl Default for Scratch {
    fn default() -> Self {
        Self { ciphertext: vec![0; Self::LEN_BYTES], block: Box::new([0; BLOCK_SIZE]) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}
