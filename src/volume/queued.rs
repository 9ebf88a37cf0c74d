//! Reads and writes that nobody waits for: those that are one transfer of the store, begun here and ended by a thread of the store.
//!
//! What they promise, and in which order, is what `io.rs` does in one go.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use super::error::VolumeError;
use super::range_lock::{RangeGuard, RangeLock};
use super::written::{CAPACITY, Written, runs};
use super::{Scratch, Volume};
use crate::cipher::BLOCK_SIZE;
use crate::format::BLOCKS_PER_REGION;
use crate::store::{Aligned, Direction, Transfer};

/// Whole blocks that lie in one piece in the store.
struct Run {
    blocks: Range<u64>,
    /// In the store.
    offset: u64,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// When it is written, by the thread of the store.
    Queued,
    /// When it is on its way, if the blocks have their room in the store already, so that only a broken disk can keep it from arriving. Else
    /// when it is written, by the caller, who waits for it.
    Behind,
    /// The same, of a write after which a sync is likely to be asked for: it makes itself durable.
    Commit,
}

/// A write of `data` at `offset`. What it calls is called once: by a thread that must not be held up, or before [`Volume::begin_write`] returns.
pub struct QueuedWrite<'a, Answer: OnAnswer, Done: OnDone> {
    pub offset: u64,
    pub data: &'a [u8],
    /// At least as long as `data`; what the store gets.
    pub bytes: Aligned,
    pub mode: WriteMode,
    pub answer: Answer,
    pub done: Done,
}

/// What is called with the result of a write.
pub trait OnAnswer: FnOnce(Result<(), VolumeError>) + Send + 'static {}
impl<F: FnOnce(Result<(), VolumeError>) + Send + 'static> OnAnswer for F {}

/// What gets the buffer back when the store has let go of it.
pub trait OnDone: FnOnce(Aligned) + Send + 'static {}
impl<F: FnOnce(Aligned) + Send + 'static> OnDone for F {}

impl Volume {
    /// As [`Volume::read`], into the start of `bytes`. `done` is called once: by a thread that must not be held up, or before this returns.
    pub fn begin_read(
        self: &Arc<Self>,
        offset: u64,
        len_bytes: usize,
        mut bytes: Aligned,
        scratch: &mut Scratch,
        done: impl FnOnce(Result<(), VolumeError>, Aligned) + Send + 'static,
    ) {
        let Some(run) = self.run(offset, len_bytes) else {
            let result = self.read(offset, &mut bytes[..len_bytes], scratch);
            return done(result, bytes);
        };
        let held = self.ranges.share_owned(run.blocks.clone());
        let written = match self.all_written(&run) {
            Ok(Some(written)) => written,
            otherwise => {
                drop(held);
                let result = otherwise.and_then(|_| self.read(offset, &mut bytes[..len_bytes], scratch));
                return done(result, bytes);
            }
        };
        let volume = Arc::clone(self);
        let finish = move |result: std::io::Result<()>, mut bytes: Aligned| {
            drop(held);
            let may_wait = !volume.state.is_watched();
            let open = move || {
                let result = result
                    .map_err(VolumeError::store("read"))
                    .and_then(|()| volume.open(run.blocks.start, written, &mut bytes[..len_bytes]))
                    // The last look before the reply: nothing decrypted leaves a volume that has ended meanwhile.
                    .and_then(|()| volume.state.check_serving());
                // Whoever waits for the last answer may close the store then.
                drop(volume);
                done(result, bytes);
            };
            if may_wait {
                // Not in the thread of the store: a sync waits for it, and goes on while nobody watches. Dropped, it is answered with an error.
                let _ = thread::Builder::new().name("unwatched".to_owned()).spawn(open);
            } else {
                open();
            }
        };
        self.store.begin(Transfer {
            direction: Direction::Read,
            offset: run.offset,
            len_bytes,
            bytes,
            done: Box::new(finish),
        });
    }

    /// As [`Volume::write`].
    pub fn begin_write(self: &Arc<Self>, write: QueuedWrite<'_, impl OnAnswer, impl OnDone>, scratch: &mut Scratch) {
        let QueuedWrite { offset, data, mut bytes, mode, answer, done } = write;
        let Some(run) = self.run(offset, data.len()) else {
            answer(self.write(offset, data, scratch));
            return done(bytes);
        };
        let ciphertext = &mut bytes[..data.len()];
        if let Err(error) = self.seal(run.blocks.start, data, ciphertext) {
            answer(Err(error));
            return done(bytes);
        }
        let held = self.ranges.exclude_owned(run.blocks.clone());
        // The page of the map is there before the thread of the store needs it: a disk is not to be waited for in that thread.
        let has_room = match self.before_change(&run.blocks).and_then(|()| self.all_written(&run)) {
            Ok(written) => written.is_some(),
            Err(error) => {
                answer(Err(error));
                return done(bytes);
            }
        };
        if mode == WriteMode::Queued {
            let volume = Arc::clone(self);
            let finish = move |result: std::io::Result<()>, bytes: Aligned| {
                let result = volume.after_put(run.blocks, result.map_err(VolumeError::store("write")));
                drop(held);
                drop(volume);
                answer(result);
                done(bytes);
            };
            let (len_bytes, done) = (data.len(), Box::new(finish));
            self.store.begin(Transfer { direction: Direction::Write, offset: run.offset, len_bytes, bytes, done });
        } else if has_room {
            self.begin_behind(run, held, data.len(), bytes, mode, done);
            // What failed meanwhile has ended the volume.
            answer(self.state.check_not_ended());
        } else {
            let written = self.store.write_at(run.offset, ciphertext).map_err(VolumeError::store("write"));
            let result = self.after_put(run.blocks, written);
            drop(held);
            answer(result);
            done(bytes);
        }
    }

    /// Begins a write that is answered when this returns. Whoever asks for a sync then waits for it.
    fn begin_behind(
        self: &Arc<Self>,
        run: Run,
        held: RangeGuard<Arc<RangeLock>>,
        len_bytes: usize,
        bytes: Aligned,
        mode: WriteMode,
        done: impl OnDone,
    ) {
        // It can only vouch for itself: what was written before it has to be durable, and its bits in the map on disk.
        let durable = self.ahead.all_durable().filter(|_| mode == WriteMode::Commit);
        let number = self.behind.enter();
        let volume = Arc::clone(self);
        let finish = move |result: std::io::Result<()>, bytes: Aligned| {
            // A failure is latched here: nobody hears of it otherwise.
            let written = volume.after_put(run.blocks, result.map_err(VolumeError::store("write")));
            drop(held);
            if let (Ok(()), Some(before)) = (written, durable) {
                volume.ahead.synced_itself(before);
            }
            for arrived in volume.behind.leave(number) {
                arrived(volume.synced_already());
            }
            drop(volume);
            done(bytes);
        };
        let direction = if durable.is_some() { Direction::WriteDurably } else { Direction::Write };
        self.store.begin(Transfer { direction, offset: run.offset, len_bytes, bytes, done: Box::new(finish) });
    }

    /// `None` for what is more than one transfer, or none, or not of this volume.
    fn run(&self, offset: u64, len_bytes: usize) -> Option<Run> {
        let (block_size, len) = (BLOCK_SIZE as u64, len_bytes as u64);
        self.check_range(offset, len).ok()?;
        let blocks = offset / block_size..(offset + len) / block_size;
        let is_whole = offset.is_multiple_of(block_size) && len.is_multiple_of(block_size);
        let is_one = blocks.start / BLOCKS_PER_REGION == blocks.end.checked_sub(1)? / BLOCKS_PER_REGION;
        let fits = (1..=CAPACITY).contains(&(blocks.end - blocks.start));
        (is_whole && is_one && fits).then_some(())?;
        Some(Run { offset: self.geometry().block_offset(blocks.start)?, blocks })
    }

    /// `None` if there are blocks among them that the store does not have.
    fn all_written(&self, run: &Run) -> Result<Option<Written>, VolumeError> {
        let written = self.allocation.written(&*self.store, &run.blocks);
        let written = written.map_err(VolumeError::store("read its allocation map"))?;
        let all = 0..run.blocks.end - run.blocks.start;
        Ok((runs(written).next() == Some(all)).then_some(written))
    }
}

#[cfg(test)]
mod tests;
