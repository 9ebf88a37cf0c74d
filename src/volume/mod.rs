//! Byte ranges to blocks: read-modify-write, locks, the allocation map and the state machine of an attached volume.
//!
//! Every byte goes through here exactly once each way: encrypted before it reaches the store, decrypted after.

mod allocation_map;
mod behind;
mod change_map;
mod chunk;
mod epoch;
mod error;
mod grow;
mod io;
mod queued;
mod range_lock;
mod scratch;
mod state;
mod sync_ahead;
#[cfg(test)]
mod tests;
mod written;

pub use crate::store::Aligned;
pub use change_map::ChangeMap;
pub use chunk::{BLOCKS_PER_CHUNK, CHUNK_SIZE, written_bytes};
pub use epoch::BeforeChunkWrite;
pub use error::VolumeError;
pub use grow::chunk_count;
pub use queued::{OnAnswer, OnDone, QueuedWrite, WriteMode};
pub use scratch::Scratch;
pub use state::{Ended, Phase, VolumeKeys};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::format::Geometry;
use crate::store::Store;
use allocation_map::AllocationMap;
use behind::Behind;
use epoch::Epoch;
use range_lock::RangeLock;
use state::StateLock;
use sync_ahead::SyncAhead;

/// The unit of encryption.
pub const BLOCK_SIZE_BYTES: u64 = crate::cipher::BLOCK_SIZE as u64;

/// What is encrypted under one key, and how many such there are at most.
pub const REGION_BYTES: u64 = crate::format::REGION_LEN;
pub use crate::format::MAX_REGIONS;

/// One attached volume: what the front-end reads and writes, and what revocation ends.
///
/// All methods take `&self` and may be called from many threads.
pub struct Volume {
    /// Of a geometry, and never less than before: whoever has found a block inside of the volume may rely on that. Raised last, when
    /// all else knows the new blocks.
    size_bytes: AtomicU64,
    store: Arc<dyn Store>,
    state: StateLock,
    allocation: AllocationMap,
    /// Readers share, writers and discards exclude: the store never sees a block read while it is half written.
    ranges: Arc<RangeLock>,
    /// What a snapshot that comes later has to look at.
    changes: Option<ChangeMap>,
    epoch: Epoch,
    behind: Behind,
    ahead: SyncAhead,
}

impl Volume {
    /// `keys` must hold one cipher for each region of `geometry`.
    pub fn new(geometry: Geometry, store: Arc<dyn Store>, keys: VolumeKeys) -> Self {
        Self {
            allocation: AllocationMap::default(),
            state: StateLock::new(keys),
            ranges: Arc::default(),
            changes: None,
            epoch: Epoch::default(),
            behind: Behind::default(),
            ahead: SyncAhead::default(),
            size_bytes: AtomicU64::new(geometry.size_bytes()),
            store,
        }
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes.load(Ordering::Acquire)
    }

    fn geometry(&self) -> Geometry {
        Geometry::new(self.size_bytes()).expect("it is the size of a geometry")
    }

    /// Whether every read and write waits for a disk.
    pub fn always_waits(&self) -> bool {
        self.store.always_waits()
    }

    /// Whether [`Volume::begin_read`] and [`Volume::begin_write`] return before the disk has answered.
    pub fn has_queue(&self) -> bool {
        self.store.has_queue()
    }

    /// The first half of [`Volume::end`]: new requests fail from now on.
    pub fn stop(&self) {
        self.state.stop();
        self.ranges.wake();
    }

    /// Ends the volume for good: from the return of this call no key that opens a block is in memory, and
    /// every request fails.
    ///
    /// Waits for the cipher calls that are under way, never for a system call. The first reason wins.
    pub fn end(&self, ended: Ended) {
        self.stop();
        self.state.end(ended);
    }

    /// The key is watched for so long from now, unless this is said again. After that requests wait, until it is said again
    /// or the volume ends.
    pub fn watched_for(&self, duration: std::time::Duration) {
        self.state.watched_for(duration);
    }

    /// `None` while it serves.
    pub fn ended(&self) -> Option<Ended> {
        self.state.ended()
    }
}
