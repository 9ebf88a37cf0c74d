//! Chunks, the unit of snapshots: which blocks of one were written, their ciphertext as it lies in the store, and the way back.

use std::ops::Range;

use super::error::VolumeError;
use super::grow::chunk_count;
use super::io::is_zero;
use super::written::runs;
use super::{Scratch, Volume};
use crate::cipher::{BLOCK_SIZE, BlockNumber};
use crate::format::BLOCKS_PER_REGION;

/// As in EBS.
pub const CHUNK_SIZE: usize = 512 << 10;
pub const BLOCKS_PER_CHUNK: u64 = (CHUNK_SIZE / BLOCK_SIZE) as u64;

const _: () = assert!(BLOCKS_PER_CHUNK == u128::BITS as u64, "the written blocks of a chunk are the bits of a u128");
const _: () = assert!(BLOCKS_PER_REGION.is_multiple_of(BLOCKS_PER_CHUNK), "a chunk lies in one region");

impl Volume {
    /// The last one may be short.
    pub fn chunk_count(&self) -> u64 {
        chunk_count(self.geometry())
    }

    /// Which blocks of a chunk were written, bit `i` for its block `i`, and the ciphertext of exactly those, one after the
    /// other, at the start of `ciphertext`, which holds a chunk.
    ///
    /// Takes no lock: only for a chunk that nobody can write just now, as within [`super::BeforeChunkWrite`].
    pub fn read_chunk(&self, chunk: u64, ciphertext: &mut [u8]) -> Result<u128, VolumeError> {
        assert!(ciphertext.len() >= CHUNK_SIZE, "the buffer holds a chunk");
        self.state.check_not_ended()?;
        let first = self.first_block(chunk)?;
        let written = self.allocation.written_in_chunk(&*self.store, first);
        let written = written.map_err(VolumeError::store("read its allocation map"))? & self.blocks_of(first);
        let mut done = 0;
        for run in runs([written]) {
            let offset = self.geometry().block_offset(first + run.start);
            let offset = offset.ok_or_else(|| self.no_such_chunk(chunk))?;
            let len = len_bytes(&run);
            let run = &mut ciphertext[done..done + len];
            self.store.read_at(offset, run).map_err(VolumeError::store("read"))?;
            done += len;
        }
        Ok(written)
    }

    /// [`Volume::read_chunk`] is going to be asked for this one.
    pub fn prefetch_chunk(&self, chunk: u64) {
        let Ok(first) = self.first_block(chunk) else { return };
        // A hole that is asked for would fill the cache with zeros.
        let written = self.allocation.written_in_chunk(&*self.store, first).unwrap_or(0) & self.blocks_of(first);
        for run in runs([written]) {
            if let Some(offset) = self.geometry().block_offset(first + run.start) {
                self.store.prefetch(offset, len_bytes(&run) as u64);
            }
        }
    }

    /// Decrypts what [`Volume::read_chunk`] gave, to the start of `plaintext`.
    pub fn open_chunk(
        &self,
        chunk: u64,
        written: u128,
        ciphertext: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), VolumeError> {
        let first = self.first_block(chunk)?;
        let mut done = 0;
        for run in runs([written]) {
            let bytes = done..done + len_bytes(&run);
            let blocks = first + run.start..first + run.end;
            for (block, ciphertext) in blocks.clone().zip(ciphertext[bytes.clone()].chunks_exact(BLOCK_SIZE)) {
                if is_zero(ciphertext) {
                    return Err(VolumeError::LostBlock(BlockNumber(block)));
                }
            }
            done = bytes.end;
            self.state.permit()?.decrypt(BlockNumber(blocks.start), &ciphertext[bytes.clone()], &mut plaintext[bytes]);
        }
        // As in a read.
        self.state.check_serving()
    }

    /// Writes blocks of a chunk as [`Volume::open_chunk`] gave them. Its other blocks stay as they are.
    pub fn write_chunk(
        &self,
        chunk: u64,
        written: u128,
        data: &[u8],
        scratch: &mut Scratch,
    ) -> Result<(), VolumeError> {
        assert_eq!(data.len(), written_bytes(written), "the data is that of the blocks");
        let first = self.first_block(chunk)?;
        let mut data = data;
        for run in runs([written]) {
            let (now, later) = data.split_at(len_bytes(&run));
            self.write((first + run.start) * BLOCK_SIZE as u64, now, scratch)?;
            // The next sync would wait for all of it at once, and the disk have nothing to do until then.
            if let Some(offset) = self.geometry().block_offset(first + run.start) {
                self.store.begin_write_back(offset, now.len() as u64);
            }
            data = later;
        }
        Ok(())
    }

    fn first_block(&self, chunk: u64) -> Result<u64, VolumeError> {
        if chunk < self.chunk_count() { Ok(chunk * BLOCKS_PER_CHUNK) } else { Err(self.no_such_chunk(chunk)) }
    }

    fn no_such_chunk(&self, chunk: u64) -> VolumeError {
        self.out_of_range(chunk.saturating_mul(CHUNK_SIZE as u64), CHUNK_SIZE as u64)
    }

    /// Those that the chunk from block `first` has.
    fn blocks_of(&self, first: u64) -> u128 {
        match self.geometry().block_count() - first {
            count @ ..BLOCKS_PER_CHUNK => (1 << count) - 1,
            _ => u128::MAX,
        }
    }
}

/// How much the written blocks of a chunk come to.
pub fn written_bytes(written: u128) -> usize {
    written.count_ones() as usize * BLOCK_SIZE
}

fn len_bytes(run: &Range<u64>) -> usize {
    usize::try_from(run.end - run.start).expect("at most 128") * BLOCK_SIZE
}

#[cfg(test)]
mod tests;
