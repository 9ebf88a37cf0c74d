//! Reading, writing, discarding and syncing byte ranges of a volume.

use std::ops::Range;

use jiff::Timestamp;

use super::allocation_map::AllocationMap;
use super::error::VolumeError;
use super::state::{Ended, Phase};
use super::written::{CAPACITY, Written, runs};
use super::{Scratch, Volume};
use crate::cipher::{BLOCK_SIZE, BlockNumber};
use crate::format::BLOCKS_PER_REGION;

const BLOCK: u64 = BLOCK_SIZE as u64;

const _: () = assert!((Scratch::LEN_BYTES / BLOCK_SIZE) as u64 <= CAPACITY, "a piece has a bit for each block");

/// What is copied from or to the kernel's page cache goes in pieces that stay in the processor's second-level cache between the copy and the
/// cipher. To a disk a request goes whole.
const CACHED_PIECE_BYTES: usize = 128 << 10;

/// Whether a read may wait for the disk.
#[derive(Clone, Copy)]
enum StoreRead {
    Waits,
    AtOnce,
}

/// One piece of a byte range: whole blocks, or a part of one.
enum Piece {
    Whole { first: u64, bytes: Range<usize> },
    Part { block: u64, at: usize, bytes: Range<usize> },
}

/// Cuts `offset..offset + len` at block boundaries, whole runs at most `longest` bytes long. `bytes` are
/// positions in the caller's buffer.
fn pieces(offset: u64, len: usize, longest: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let position = offset + done as u64;
        let block = position / BLOCK;
        let at = byte_in_block(position);
        let left = len - done;
        let piece = if at == 0 && left >= BLOCK_SIZE {
            let whole = (left - left % BLOCK_SIZE).min(longest);
            Piece::Whole { first: block, bytes: done..done + whole }
        } else {
            Piece::Part { block, at, bytes: done..done + left.min(BLOCK_SIZE - at) }
        };
        done = match &piece {
            Piece::Whole { bytes, .. } | Piece::Part { bytes, .. } => bytes.end,
        };
        Some(piece)
    })
}

impl Volume {
    /// Fills `out` from `offset`. Blocks that were never written, or were discarded, read as zeros.
    pub fn read(&self, offset: u64, out: &mut [u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.read_by(StoreRead::Waits, offset, out, scratch)
    }

    /// As [`Volume::read`] where the store has the bytes at hand.
    ///
    /// # Errors
    /// [`VolumeError::WouldWait`] where it has not; `out` may hold anything then.
    pub fn read_at_once(&self, offset: u64, out: &mut [u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.read_by(StoreRead::AtOnce, offset, out, scratch)
    }

    fn read_by(&self, how: StoreRead, offset: u64, out: &mut [u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.check_range(offset, out.len() as u64)?;
        for piece in pieces(offset, out.len(), self.longest_piece()) {
            match piece {
                Piece::Whole { first, bytes } => self.read_blocks(how, first, &mut out[bytes])?,
                Piece::Part { block, at, bytes } => {
                    self.read_blocks(how, block, &mut scratch.block[..])?;
                    out[bytes.clone()].copy_from_slice(&scratch.block[at..at + bytes.len()]);
                }
            }
        }
        // The last look before the reply: nothing decrypted leaves a volume that has ended meanwhile.
        self.state.check_serving()
    }

    /// The ciphertext goes to where the plaintext will be: a buffer of its own would push both out of the processor's cache.
    fn read_blocks(&self, how: StoreRead, first: u64, out: &mut [u8]) -> Result<(), VolumeError> {
        let blocks = first..first + (out.len() / BLOCK_SIZE) as u64;
        let held = self.ranges.share(blocks.clone());
        let written = self.fetch(how, blocks, out)?;
        drop(held);
        self.open(first, written, out)
    }

    /// Writes `data` at `offset`. Durable only after [`Volume::sync`].
    pub fn write(&self, offset: u64, data: &[u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.check_range(offset, data.len() as u64)?;
        for piece in pieces(offset, data.len(), self.longest_piece()) {
            match piece {
                Piece::Whole { first, bytes } => {
                    let ciphertext = &mut scratch.ciphertext[..bytes.len()];
                    self.seal(first, &data[bytes], ciphertext)?;
                    let blocks = first..first + (ciphertext.len() / BLOCK_SIZE) as u64;
                    let _held = self.ranges.exclude(blocks.clone());
                    self.put(blocks, ciphertext)?;
                }
                Piece::Part { block, at, bytes } => self.modify(block, at, &data[bytes], scratch)?,
            }
        }
        Ok(())
    }

    /// Makes a range read as zeros and gives its whole blocks back to the store. Durable on return for whole blocks.
    pub fn discard(&self, offset: u64, len_bytes: u64, scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.check_range(offset, len_bytes)?;
        let end = offset + len_bytes;
        let whole = offset.div_ceil(BLOCK)..end / BLOCK;
        if whole.start >= whole.end {
            return self.write_zeros(offset..end, scratch);
        }
        self.write_zeros(offset..whole.start * BLOCK, scratch)?;
        self.write_zeros(whole.end * BLOCK..end, scratch)?;
        self.discard_blocks(whole)
    }

    /// Makes a range read as zeros, as if they were written: it keeps its room in the store, and needs none later.
    ///
    /// Journals are made so, and a journal whose every block is still to be marked as written would pay for that with a
    /// second sync at each of its syncs.
    pub fn zero(&self, offset: u64, len_bytes: u64, scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.check_range(offset, len_bytes)?;
        self.write_zeros(offset..offset + len_bytes, scratch)
    }

    /// Makes every write that was answered before this call durable.
    ///
    /// It moves ciphertext alone, and so goes on while nobody watches the key: a detach needs it, and may come when KMS is gone.
    pub fn sync(&self) -> Result<(), VolumeError> {
        self.behind.wait();
        self.synced_already().unwrap_or_else(|| self.sync_now())
    }

    /// Whether writes that were answered are on their way to the disk, so that a sync would have to wait for them.
    pub fn is_writing_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Calls `arrived` once no write is on its way that was answered before this call: by the thread of the store, which must not be held
    /// up, or before this returns. It gets the result of a sync, if nothing is left to be done for one: else [`Volume::sync`] has to be called, from
    /// a thread that may wait.
    pub fn when_arrived(&self, arrived: impl FnOnce(Option<Result<(), VolumeError>>) + Send + 'static) {
        if let Some(arrived) = self.behind.ask(Box::new(arrived)) {
            arrived(self.synced_already());
        }
    }

    /// Waits for nothing.
    pub(super) fn synced_already(&self) -> Option<Result<(), VolumeError>> {
        self.ahead.all_durable().map(|_| self.state.check_not_ended())
    }

    /// In three steps whose order is the promise: the data, then the map bits of blocks written for the first time, then the map.
    fn sync_now(&self) -> Result<(), VolumeError> {
        self.state.check_not_ended()?;
        let count = self.ahead.count();
        let turn = self.allocation.persist();
        let pending = self.allocation.pending(&turn);
        // Without bits there is nothing to keep in order: whoever had some before has synced them.
        let turn = (!pending.is_empty()).then_some(turn);
        self.latch(self.store.sync().map_err(VolumeError::store("sync")))?;
        if let Some(turn) = turn {
            let written = self.allocation.write_pending(&*self.store, pending, &turn);
            self.latch(written.map_err(VolumeError::store("write its allocation map")))?;
            self.latch(self.store.sync().map_err(VolumeError::store("sync its allocation map")))?;
        }
        self.ahead.synced(count);
        self.state.check_not_ended()
    }

    /// Whether nothing was ever written to the volume. Reads the whole allocation map.
    pub fn is_blank(&self) -> Result<bool, VolumeError> {
        AllocationMap::is_blank(&*self.store, self.geometry().block_count())
            .map_err(VolumeError::store("read its allocation map"))
    }

    fn longest_piece(&self) -> usize {
        if self.always_waits() { Scratch::LEN_BYTES } else { CACHED_PIECE_BYTES }
    }

    pub(super) fn check_range(&self, offset: u64, len_bytes: u64) -> Result<(), VolumeError> {
        self.state.check_serving()?;
        match offset.checked_add(len_bytes) {
            Some(end) if end <= self.size_bytes() => Ok(()),
            _ => Err(self.out_of_range(offset, len_bytes)),
        }
    }

    pub(super) fn out_of_range(&self, offset: u64, len_bytes: u64) -> VolumeError {
        VolumeError::OutOfRange { offset, len_bytes, size_bytes: self.size_bytes() }
    }

    /// Reads the ciphertext of those `blocks` that were written, each run with one call of the store; they are what
    /// [`Volume::open`] decrypts. Call with the blocks locked.
    fn fetch(&self, how: StoreRead, blocks: Range<u64>, ciphertext: &mut [u8]) -> Result<Written, VolumeError> {
        let written = self.allocation.written(&*self.store, &blocks);
        let written = written.map_err(VolumeError::store("read its allocation map"))?;
        for run in runs(written) {
            let ciphertext = &mut ciphertext[byte_range(&run)];
            self.each_stored_run(blocks.start + run.start..blocks.start + run.end, |offset, bytes| {
                let bytes = &mut ciphertext[bytes];
                let read = match how {
                    StoreRead::Waits => self.store.read_at(offset, bytes).map(|()| true),
                    StoreRead::AtOnce => self.store.read_at_once(offset, bytes),
                };
                if read.map_err(VolumeError::store("read"))? { Ok(()) } else { Err(VolumeError::WouldWait) }
            })?;
        }
        Ok(written)
    }

    /// Decrypts what [`Volume::fetch`] fetched; the other blocks become zeros.
    pub(super) fn open(&self, first: u64, written: Written, blocks: &mut [u8]) -> Result<(), VolumeError> {
        let mut done = 0;
        for run in runs(written) {
            let bytes = byte_range(&run);
            for (block, ciphertext) in run.clone().zip(blocks[bytes.clone()].chunks_exact(BLOCK_SIZE)) {
                if is_zero(ciphertext) {
                    return Err(VolumeError::LostBlock(BlockNumber(first + block)));
                }
            }
            blocks[done..bytes.start].fill(0);
            self.state.permit()?.decrypt_in_place(BlockNumber(first + run.start), &mut blocks[bytes.clone()]);
            done = bytes.end;
        }
        blocks[done..].fill(0);
        Ok(())
    }

    /// Encrypts, and sees that the volume serves before the ciphertext goes anywhere.
    pub(super) fn seal(&self, first: u64, data: &[u8], ciphertext: &mut [u8]) -> Result<(), VolumeError> {
        self.state.permit()?.encrypt(BlockNumber(first), data, ciphertext);
        self.state.check_serving()
    }

    /// Read-modify-write of a part of one block, with the block locked throughout.
    fn modify(&self, block: u64, at: usize, data: &[u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        let Scratch { ciphertext, block: part } = scratch;
        let _held = self.ranges.exclude(block..block + 1);
        let written = self.fetch(StoreRead::Waits, block..block + 1, &mut part[..])?;
        self.open(block, written, &mut part[..])?;
        part[at..at + data.len()].copy_from_slice(data);
        let ciphertext = &mut ciphertext[..BLOCK_SIZE];
        self.seal(block, &part[..], ciphertext)?;
        self.put(block..block + 1, ciphertext)
    }

    fn write_zeros(&self, bytes: Range<u64>, scratch: &mut Scratch) -> Result<(), VolumeError> {
        static ZEROS: [u8; 32 * BLOCK_SIZE] = [0; 32 * BLOCK_SIZE];
        let mut at = bytes.start;
        while at < bytes.end {
            // After the first, from block to block.
            let zeros = &ZEROS[byte_in_block(at)..];
            let zeros = &zeros[..zeros.len().min(usize::try_from(bytes.end - at).unwrap_or(usize::MAX))];
            self.write(at, zeros, scratch)?;
            at += zeros.len() as u64;
        }
        Ok(())
    }

    /// Three steps whose order is the promise: the bits, durably; then the blocks. After a crash in between the blocks
    /// read as zeros, never as lost.
    fn discard_blocks(&self, blocks: Range<u64>) -> Result<(), VolumeError> {
        let _held = self.ranges.exclude(blocks.clone());
        self.before_change(&blocks)?;
        let turn = self.allocation.persist();
        let cleared = self.allocation.clear(&*self.store, blocks.clone(), &turn);
        if !self.latch(cleared.map_err(VolumeError::store("write its allocation map")))? {
            return Ok(());
        }
        self.latch(self.store.sync().map_err(VolumeError::store("sync its allocation map")))?;
        drop(turn);
        self.each_stored_run(blocks, |offset, bytes| {
            self.store.punch(offset, bytes.len() as u64).map_err(VolumeError::store("discard"))
        })
    }

    /// Call with the blocks locked.
    fn put(&self, blocks: Range<u64>, ciphertext: &[u8]) -> Result<(), VolumeError> {
        self.before_change(&blocks)?;
        let written = self.each_stored_run(blocks.clone(), |offset, bytes| {
            self.store.write_at(offset, &ciphertext[bytes]).map_err(VolumeError::store("write"))
        });
        self.after_put(blocks, written)
    }

    /// The other half of a write to the store.
    pub(super) fn after_put(&self, blocks: Range<u64>, written: Result<(), VolumeError>) -> Result<(), VolumeError> {
        self.latch(written)?;
        let marked = self.allocation.mark_written(&*self.store, blocks);
        self.ahead.written();
        marked.map_err(VolumeError::store("read its allocation map"))
    }

    /// Cuts a run of blocks where the store does: an allocation map lies between two regions.
    fn each_stored_run(
        &self,
        blocks: Range<u64>,
        mut call: impl FnMut(u64, Range<usize>) -> Result<(), VolumeError>,
    ) -> Result<(), VolumeError> {
        let mut at = blocks.start;
        while at < blocks.end {
            let count = (blocks.end - at).min(BLOCKS_PER_REGION - at % BLOCKS_PER_REGION);
            let run = at - blocks.start..at - blocks.start + count;
            let offset = self.geometry().block_offset(at).ok_or_else(|| self.out_of_range(at * BLOCK, BLOCK))?;
            call(offset, byte_range(&run))?;
            at += count;
        }
        Ok(())
    }

    /// The first failed write or sync is the last: an error of fsync is reported once by the kernel, and what follows
    /// would look like success (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    fn latch<T>(&self, result: Result<T, VolumeError>) -> Result<T, VolumeError> {
        if let Err(error @ VolumeError::Store { .. }) = &result {
            if self.ended().is_none() {
                tracing::error!("{error}; nothing more is read or written until the volume is opened again");
            }
            self.end(Ended { phase: Phase::Failed, reason: error.to_string(), at: Timestamp::now() });
        }
        result
    }
}

fn byte_range(blocks: &Range<u64>) -> Range<usize> {
    let byte = |block: u64| usize::try_from(block * BLOCK).unwrap_or(usize::MAX);
    byte(blocks.start)..byte(blocks.end)
}

fn byte_in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK).expect("below 4096")
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
