//! Buffers that one worker thread keeps, so that no request that it waits for allocates.

use zeroize::Zeroize;

use crate::cipher::BLOCK_SIZE;
use crate::store::Aligned;

/// What one worker needs beside the caller's own buffer. Make one per thread and keep it.
pub struct Scratch {
    /// Ciphertext on its way to the store; reads do not need it, and lend it to their caller.
    pub(super) ciphertext: Aligned,
    /// The plaintext of one block that a request covers only in part.
    pub(super) block: Aligned,
}

impl Scratch {
    /// The largest request the front-end makes; longer ones are served in pieces of this size.
    pub const LEN_BYTES: usize = 1 << 20;

    /// [`Scratch::LEN_BYTES`] to read into, so that no worker needs a second buffer of that size. What is left of the scratch
    /// serves reads alone.
    pub fn with_bytes<T>(&mut self, call: impl FnOnce(&mut [u8], &mut Self) -> T) -> T {
        let mut bytes = std::mem::take(&mut self.ciphertext);
        let result = call(&mut bytes, self);
        self.ciphertext = bytes;
        result
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self { ciphertext: Aligned::new(Self::LEN_BYTES), block: Aligned::new(BLOCK_SIZE) }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.block.zeroize();
    }
}
