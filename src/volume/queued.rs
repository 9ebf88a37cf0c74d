//! Reads and writes that nobody waits for: those that are one transfer of the store, begun here and ended by a thread of the store.
//!
//! What they promise, and in which order, is what `io.rs` does in one go.

use std::ops::Range;
use std::sync::Arc;

use super::error::VolumeError;
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
            let result = result
                .map_err(VolumeError::store("read"))
                .and_then(|()| volume.open(run.blocks.start, written, &mut bytes[..len_bytes]))
                // The last look before the reply: nothing decrypted leaves a volume that has ended meanwhile.
                .and_then(|()| volume.state.check_serving());
            // Whoever waits for the last answer may close the store then.
            drop(volume);
            done(result, bytes);
        };
        self.store.begin(Transfer {
            direction: Direction::Read,
            offset: run.offset,
            len_bytes,
            bytes,
            done: Box::new(finish),
        });
    }

    /// As [`Volume::write`], with `bytes` for the ciphertext. `done` is called once: by a thread that must not be held up, or before this
    /// returns.
    pub fn begin_write(
        self: &Arc<Self>,
        offset: u64,
        data: &[u8],
        mut bytes: Aligned,
        scratch: &mut Scratch,
        done: impl FnOnce(Result<(), VolumeError>, Aligned) + Send + 'static,
    ) {
        let len_bytes = data.len();
        let Some(run) = self.run(offset, len_bytes) else {
            let result = self.write(offset, data, scratch);
            return done(result, bytes);
        };
        if let Err(error) = self.seal(run.blocks.start, data, &mut bytes[..len_bytes]) {
            return done(Err(error), bytes);
        }
        let held = self.ranges.exclude_owned(run.blocks.clone());
        // The page of the map is there before the thread of the store needs it: a disk is not to be waited for in that thread.
        if let Err(error) = self.before_change(&run.blocks).and_then(|()| self.all_written(&run)) {
            return done(Err(error), bytes);
        }
        let volume = Arc::clone(self);
        let finish = move |result: std::io::Result<()>, bytes: Aligned| {
            let result = volume.after_put(run.blocks, result.map_err(VolumeError::store("write")));
            drop(held);
            drop(volume);
            done(result, bytes);
        };
        self.store.begin(Transfer {
            direction: Direction::Write,
            offset: run.offset,
            len_bytes,
            bytes,
            done: Box::new(finish),
        });
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
