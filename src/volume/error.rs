//! Why a request on a volume failed, told apart by what the caller can do.

use std::io;

use crate::cipher::BlockNumber;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The request leaves the volume. The front-end clips reads and writes, so this is a bug in a caller.
    #[error("{len_bytes} bytes at {offset} reach beyond the end of the volume, {size_bytes}")]
    OutOfRange { offset: u64, len_bytes: u64, size_bytes: u64 },

    /// The map says that the block was written, and the store has only zeros there: somebody took it away.
    #[error("block {} was written and is gone from the backing store", .0.0)]
    LostBlock(BlockNumber),

    #[error("the backing store failed to {action}: {source}")]
    Store { action: &'static str, source: io::Error },

    /// Nothing is wrong: ask again with [`super::Volume::read`], from a thread that may wait.
    #[error("the bytes have to be waited for")]
    WouldWait,

    /// Terminal, or latched after a failed write or sync: nothing is served until the volume is attached again.
    #[error("the volume no longer serves: {0}")]
    Ended(String),
}

impl VolumeError {
    pub(super) fn store(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Store { action, source }
    }
}
