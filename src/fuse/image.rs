//! What the front-end shows, as it sees it: bytes whose number never falls. envol shows volumes and nothing else; a bench that wants to
//! know what the cipher costs shows a store.

use std::sync::Arc;

use crate::volume::{Aligned, OnAnswer, OnDone, QueuedWrite, Scratch, Volume, VolumeError};

/// Called by many threads at once. Ranges may end anywhere, and lie within [`Image::size_bytes`].
pub trait Image: Send + Sync + 'static {
    fn size_bytes(&self) -> u64;

    /// Whether every read and write waits for a disk.
    fn always_waits(&self) -> bool;

    fn read(&self, offset: u64, out: &mut [u8], scratch: &mut Scratch) -> Result<(), VolumeError>;

    /// # Errors
    /// [`VolumeError::WouldWait`]
    fn read_at_once(&self, offset: u64, out: &mut [u8], scratch: &mut Scratch) -> Result<(), VolumeError>;

    fn write(&self, offset: u64, data: &[u8], scratch: &mut Scratch) -> Result<(), VolumeError>;

    /// Whether what follows returns before the disk has answered.
    fn has_queue(&self) -> bool;

    /// As [`Image::read`], into the start of `bytes`. `done` is called once: by a thread that must not be held up, or before this returns.
    fn begin_read(
        self: &Arc<Self>,
        offset: u64,
        len_bytes: usize,
        bytes: Aligned,
        scratch: &mut Scratch,
        done: impl FnOnce(Result<(), VolumeError>, Aligned) + Send + 'static,
    );

    /// As [`Image::write`].
    fn begin_write(self: &Arc<Self>, write: QueuedWrite<'_, impl OnAnswer, impl OnDone>, scratch: &mut Scratch);

    fn discard(&self, offset: u64, len_bytes: u64, scratch: &mut Scratch) -> Result<(), VolumeError>;

    fn zero(&self, offset: u64, len_bytes: u64, scratch: &mut Scratch) -> Result<(), VolumeError>;

    fn sync(&self) -> Result<(), VolumeError>;

    /// Whether writes that were answered are on their way, so that a sync would have to wait for them.
    fn is_writing_behind(&self) -> bool;

    /// Calls `arrived` when they are not any more: by a thread that must not be held up, or before this returns. It gets the result of a sync, if
    /// there is nothing left to do for one.
    fn when_arrived(&self, arrived: impl FnOnce(Option<Result<(), VolumeError>>) + Send + 'static);
}

impl Image for Volume {
    fn size_bytes(&self) -> u64 {
        self.size_bytes()
    }

    fn always_waits(&self) -> bool {
        self.always_waits()
    }

    fn read(&self, offset: u64, out: &mut [u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.read(offset, out, scratch)
    }

    fn read_at_once(&self, offset: u64, out: &mut [u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.read_at_once(offset, out, scratch)
    }

    fn write(&self, offset: u64, data: &[u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.write(offset, data, scratch)
    }

    fn has_queue(&self) -> bool {
        self.has_queue()
    }

    fn begin_read(
        self: &Arc<Self>,
        offset: u64,
        len_bytes: usize,
        bytes: Aligned,
        scratch: &mut Scratch,
        done: impl FnOnce(Result<(), VolumeError>, Aligned) + Send + 'static,
    ) {
        Self::begin_read(self, offset, len_bytes, bytes, scratch, done);
    }

    fn begin_write(self: &Arc<Self>, write: QueuedWrite<'_, impl OnAnswer, impl OnDone>, scratch: &mut Scratch) {
        Self::begin_write(self, write, scratch);
    }

    fn discard(&self, offset: u64, len_bytes: u64, scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.discard(offset, len_bytes, scratch)
    }

    fn zero(&self, offset: u64, len_bytes: u64, scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.zero(offset, len_bytes, scratch)
    }

    fn sync(&self) -> Result<(), VolumeError> {
        self.sync()
    }

    fn is_writing_behind(&self) -> bool {
        self.is_writing_behind()
    }

    fn when_arrived(&self, arrived: impl FnOnce(Option<Result<(), VolumeError>>) + Send + 'static) {
        self.when_arrived(arrived);
    }
}
