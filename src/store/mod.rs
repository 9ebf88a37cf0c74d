//! Where ciphertext lies: a file, a block device, or memory.
//!
//! A store knows offsets and bytes, and nothing of blocks, keys or headers' contents. It keeps no state about failures:
//! that the first failed write or sync is never followed by success is the volume's promise.

mod aligned;
mod cache_mode;
mod create;
mod error;
mod file;
mod header_file;
mod memory;
mod transfer;

use std::io;
use std::ops::Range;
use std::path::Path;

pub use aligned::Aligned;
pub use cache_mode::{CacheMode, UnknownCacheMode};
pub use create::ImageLayout;
pub use error::StoreError;
pub use file::FileStore;
pub use memory::MemoryStore;
pub use transfer::{Direction, Done, Transfer};

/// Alignment of [`Store::read_header`] and [`Store::write_header`], of [`Store::punch`], and of what [`Store::begin`] does not wait for.
pub const ALIGNMENT: u64 = 4096;

/// A range of bytes that never becomes shorter, shared by all threads.
///
/// Ranges lie within [`Store::len_bytes`]; that is the caller's duty. A write that was not followed by a successful
/// [`Store::sync`] may be lost with the power, wholly or in any of its disk sectors; a sector is never half written.
/// Writes that overlap in time and place may end up mixed: the caller holds them apart.
pub trait Store: Send + Sync {
    fn len_bytes(&self) -> io::Result<u64>;

    /// Fills `buffer`, or fails (`UnexpectedEof` beyond the end).
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// As [`Store::read_at`] where that takes no wait for a disk. `false`: it would; `buffer` may hold anything then.
    fn read_at_once(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        self.read_at(offset, buffer).map(|()| true)
    }

    /// Whether every read and write waits for a disk.
    fn always_waits(&self) -> bool {
        false
    }

    /// Whether [`Store::begin`] returns before a transfer is done, if it is aligned.
    fn has_queue(&self) -> bool {
        false
    }

    /// Begins a transfer. Where there is no queue, or no room in it, or it is not aligned, it is done when this returns. Also a queue may have to
    /// find room on the disk first.
    fn begin(&self, transfer: Transfer) {
        transfer.carry_out(
            |bytes, offset| self.read_at(offset, bytes),
            |bytes, offset| self.write_at(offset, bytes),
            || self.sync(),
        );
    }

    /// Asks for a range that is going to be read. Returns at once, and is no promise.
    fn prefetch(&self, _offset: u64, _len_bytes: u64) {}

    /// Says that a range was written and will not be read soon: its way to the disk may begin. No promise; that is
    /// [`Store::sync`].
    fn begin_write_back(&self, _offset: u64, _len_bytes: u64) {}

    /// When it returns, every read sees these bytes. Durable only after [`Store::sync`].
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// When it returns, every write that had returned before is durable (fdatasync(2)).
    ///
    /// After an error nothing may be assumed about any of them, and a later success says nothing about them either.
    fn sync(&self) -> io::Result<()>;

    /// Gives a range back. Afterwards it reads as zeros or, on a device that cannot, as before: a caller to whom that
    /// matters has noted before, durably, that nothing is there. Aligned to [`ALIGNMENT`]. Durable like a write.
    fn punch(&self, offset: u64, len_bytes: u64) -> io::Result<()>;

    /// Makes it at least `len_bytes` long, and what of `zeros` is there already read as zeros; what is new does anyway. Durable on
    /// return. What lies elsewhere goes on being read and written meanwhile. `path` is for the error.
    ///
    /// # Errors
    /// [`StoreError::TooSmall`], [`StoreError::FileTooLarge`], [`StoreError::NoSpace`], [`StoreError::Io`].
    fn grow(&self, path: &Path, len_bytes: u64, zeros: &[Range<u64>]) -> Result<(), StoreError>;

    /// As [`Store::read_at`], of what [`Store::write_header`] wrote.
    fn read_header(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Durable when it returns, and neither queued behind other writes nor in need of free space. Aligned to
    /// [`ALIGNMENT`]; the same range is never written by [`Store::write_at`].
    fn write_header(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

#[cfg(test)]
mod contract_tests;
