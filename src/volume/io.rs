//! Reading, writing, discarding and syncing byte ranges of a volume.

use std::ops::Range;

use jiff::Timestamp;

use super::error::VolumeError;
use super::state::{Ended, Phase};
use super::{Scratch, Volume};
use crate::cipher::{BLOCK_SIZE, BlockNumber};
use crate::format::BLOCKS_PER_REGION;

const BLOCK: u64 = BLOCK_SIZE as u64;

/// One piece of a byte range: whole blocks, or a part of one.
enum Piece {
    Whole { first: u64, bytes: Range<usize> },
    Part { block: u64, at: usize, bytes: Range<usize> },
}

/// Cuts `offset..offset + len` at block boundaries, whole runs at most [`Scratch::LEN_BYTES`] long. `bytes` are
/// positions in the caller's buffer.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = Piece> {
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
            let whole = (left - left % BLOCK_SIZE).min(Scratch::LEN_BYTES);
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
        self.check_range(offset, out.len() as u64)?;
        let Scratch { ciphertext, block: part } = scratch;
        for piece in pieces(offset, out.len()) {
            match piece {
                Piece::Whole { first, bytes } => {
                    let blocks = first..first + (bytes.len() / BLOCK_SIZE) as u64;
                    let held = self.ranges.share(blocks.clone());
                    let fetched = self.fetch(blocks, ciphertext)?;
                    drop(held);
                    self.open(first, &fetched, ciphertext, &mut out[bytes])?;
                }
                Piece::Part { block, at, bytes } => {
                    let held = self.ranges.share(block..block + 1);
                    let fetched = self.fetch(block..block + 1, ciphertext)?;
                    drop(held);
                    self.open(block, &fetched, ciphertext, &mut part[..])?;
                    out[bytes.clone()].copy_from_slice(&part[at..at + bytes.len()]);
                }
            }
        }
        // The last look before the reply: nothing decrypted leaves a volume that has ended meanwhile.
        self.state.check_serving()
    }

    /// Writes `data` at `offset`. Durable only after [`Volume::sync`].
    pub fn write(&self, offset: u64, data: &[u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        self.check_range(offset, data.len() as u64)?;
        for piece in pieces(offset, data.len()) {
            match piece {
                Piece::Whole { first, bytes } => {
                    let ciphertext = &mut scratch.ciphertext[..bytes.len()];
                    self.state.permit()?.encrypt(BlockNumber(first), &data[bytes], ciphertext);
                    self.state.check_serving()?;
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

    /// Makes every write that was answered before this call durable, in three steps whose order is the promise:
    /// the data, then the map bits of blocks written for the first time, then the map.
    pub fn sync(&self) -> Result<(), VolumeError> {
        self.state.check_serving()?;
        let turn = self.allocation.persist();
        let pending = self.allocation.pending(&turn);
        self.latch(self.store.sync().map_err(VolumeError::store("sync")))?;
        let written = self.allocation.write_pending(&*self.store, pending, &turn);
        if self.latch(written.map_err(VolumeError::store("write its allocation map")))? {
            self.latch(self.store.sync().map_err(VolumeError::store("sync its allocation map")))?;
        }
        self.state.check_serving()
    }

    /// Whether nothing was ever written to the volume. Reads the whole allocation map.
    pub fn is_blank(&self) -> Result<bool, VolumeError> {
        self.allocation.is_blank(&*self.store).map_err(VolumeError::store("read its allocation map"))
    }

    fn check_range(&self, offset: u64, len_bytes: u64) -> Result<(), VolumeError> {
        self.state.check_serving()?;
        match offset.checked_add(len_bytes) {
            Some(end) if end <= self.size_bytes() => Ok(()),
            _ => Err(self.out_of_range(offset, len_bytes)),
        }
    }

    fn out_of_range(&self, offset: u64, len_bytes: u64) -> VolumeError {
        VolumeError::OutOfRange { offset, len_bytes, size_bytes: self.size_bytes() }
    }

    /// Reads the ciphertext of those `blocks` that were written, each run with one call of the store; the runs, counted
    /// from the first block, are what [`Volume::open`] decrypts. Call with the blocks locked.
    fn fetch(&self, blocks: Range<u64>, ciphertext: &mut [u8]) -> Result<Runs, VolumeError> {
        let mut runs = Runs::default();
        for block in blocks.clone() {
            let written = self.allocation.is_written(&*self.store, block);
            if written.map_err(VolumeError::store("read its allocation map"))? {
                runs.push(block - blocks.start);
            }
        }
        for run in runs.iter() {
            let ciphertext = &mut ciphertext[byte_range(run)];
            self.each_stored_run(blocks.start + run.start..blocks.start + run.end, |offset, bytes| {
                self.store.read_at(offset, &mut ciphertext[bytes]).map_err(VolumeError::store("read"))
            })?;
        }
        Ok(runs)
    }

    fn open(&self, first: u64, runs: &Runs, ciphertext: &[u8], out: &mut [u8]) -> Result<(), VolumeError> {
        let mut done = 0;
        for run in runs.iter() {
            let bytes = byte_range(run);
            for (block, ciphertext) in run.clone().zip(ciphertext[bytes.clone()].chunks_exact(BLOCK_SIZE)) {
                if is_zero(ciphertext) {
                    return Err(VolumeError::LostBlock(BlockNumber(first + block)));
                }
            }
            out[done..bytes.start].fill(0);
            self.state.permit()?.decrypt(
                BlockNumber(first + run.start),
                &ciphertext[bytes.clone()],
                &mut out[bytes.clone()],
            );
            done = bytes.end;
        }
        out[done..].fill(0);
        Ok(())
    }

    /// Read-modify-write of a part of one block, with the block locked throughout.
    fn modify(&self, block: u64, at: usize, data: &[u8], scratch: &mut Scratch) -> Result<(), VolumeError> {
        let Scratch { ciphertext, block: part } = scratch;
        let _held = self.ranges.exclude(block..block + 1);
        let fetched = self.fetch(block..block + 1, ciphertext)?;
        self.open(block, &fetched, ciphertext, &mut part[..])?;
        part[at..at + data.len()].copy_from_slice(data);
        let ciphertext = &mut ciphertext[..BLOCK_SIZE];
        self.state.permit()?.encrypt(BlockNumber(block), &part[..], ciphertext);
        self.state.check_serving()?;
        self.put(block..block + 1, ciphertext)
    }

    fn write_zeros(&self, bytes: Range<u64>, scratch: &mut Scratch) -> Result<(), VolumeError> {
        const ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];
        let mut at = bytes.start;
        while at < bytes.end {
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
        let written = self.each_stored_run(blocks.clone(), |offset, bytes| {
            self.store.write_at(offset, &ciphertext[bytes]).map_err(VolumeError::store("write"))
        });
        self.latch(written)?;
        self.allocation.mark_written(&*self.store, blocks).map_err(VolumeError::store("read its allocation map"))
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
            let offset = self.geometry.block_offset(at).ok_or_else(|| self.out_of_range(at * BLOCK, BLOCK))?;
            call(offset, byte_range(&run))?;
            at += count;
        }
        Ok(())
    }

    /// The first failed write or sync is the last: an error of fsync is reported once by the kernel, and what follows
    /// would look like success (<https://wiki.postgresql.org/wiki/Fsync_Errors>).
    fn latch<T>(&self, result: Result<T, VolumeError>) -> Result<T, VolumeError> {
        if let Err(error @ VolumeError::Store { .. }) = &result {
            tracing::error!("{error}; the volume stops serving until it is attached again");
            self.end(Ended { phase: Phase::Failed, reason: error.to_string(), at: Timestamp::now() });
        }
        result
    }
}

/// Runs of written blocks within one request, counted from its first block.
#[derive(Default)]
struct Runs(Vec<Range<u64>>);

impl Runs {
    fn push(&mut self, block: u64) {
        match self.0.last_mut() {
            Some(run) if run.end == block => run.end += 1,
            _ => self.0.push(block..block + 1),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }
}

fn byte_range(blocks: &Range<u64>) -> Range<usize> {
    let byte = |block: u64| usize::try_from(block * BLOCK).unwrap_or(usize::MAX);
    byte(blocks.start)..byte(blocks.end)
}

fn byte_in_block(offset: u64) -> usize {
    usize::try_from(offset % BLOCK).expect("below 4096")
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
