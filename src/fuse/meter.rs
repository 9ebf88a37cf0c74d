//! What was asked of the image and how long each answer took, counted by whoever answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::measure::{AtomicHistogram, Histogram, Sharded};
use crate::volume::{BLOCK_SIZE_BYTES, MAX_REGIONS, REGION_BYTES, VolumeError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    Read,
    Write,
    Sync,
    Discard,
    Zero,
}

/// One that the image has to answer, from its arrival.
pub(super) struct IoRequest {
    pub(super) kind: RequestKind,
    pub(super) offset: u64,
    pub(super) len_bytes: u64,
    /// By a clock that the kernel shares with every process: no system call.
    arrived: Instant,
}

/// Since the image is shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct IoCounters {
    pub read: RequestCounters,
    pub write: RequestCounters,
    /// fsync and its like; they have no bytes.
    pub sync: RequestCounters,
    pub discard: RequestCounters,
    /// Ranges made zeros that keep their room.
    pub zero: RequestCounters,
    pub errors: ErrorCounters,
    /// Of whole blocks, encrypted under the key of each region.
    pub region_written_bytes: Vec<u64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestCounters {
    /// Of requests that succeeded.
    pub bytes: u64,
    /// From the arrival in the daemon until the answer is made, of all that were answered.
    pub latency: Histogram,
}

/// Requests that failed, by what the volume said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorCounters {
    pub lost_block: u64,
    pub no_space: u64,
    pub store: u64,
    pub ended: u64,
    pub out_of_range: u64,
}

#[derive(Debug, Default)]
pub struct Meter {
    shards: Sharded<Shard>,
}

/// In the order of [`RequestKind`] and of [`ErrorCounters`].
#[derive(Debug, Default)]
struct Shard {
    requests: [AtomicRequests; 5],
    errors: [AtomicU64; 5],
    regions: Regions,
}

#[derive(Debug, Default)]
struct AtomicRequests {
    bytes: AtomicU64,
    latency: AtomicHistogram,
}

#[derive(Debug)]
struct Regions([AtomicU64; MAX_REGIONS]);

impl Default for Regions {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl IoRequest {
    pub(super) fn arrived(kind: RequestKind, offset: u64, len_bytes: u64) -> Self {
        Self { kind, offset, len_bytes, arrived: Instant::now() }
    }

    /// Blocks that are encrypted for it: those that it touches; of a discard only those that it touches in part.
    fn encrypted_blocks(&self) -> [std::ops::Range<u64>; 2] {
        let end = self.offset + self.len_bytes;
        let touched = self.offset / BLOCK_SIZE_BYTES..end.div_ceil(BLOCK_SIZE_BYTES);
        match self.kind {
            RequestKind::Write | RequestKind::Zero => [touched, 0..0],
            RequestKind::Discard => {
                let whole = self.offset.div_ceil(BLOCK_SIZE_BYTES)..end / BLOCK_SIZE_BYTES;
                if whole.is_empty() { [touched, 0..0] } else { [touched.start..whole.start, whole.end..touched.end] }
            }
            RequestKind::Read | RequestKind::Sync => [0..0, 0..0],
        }
    }
}

impl Meter {
    /// Before the answer leaves: whoever has it finds it counted.
    pub(super) fn answered(&self, request: &IoRequest, result: &Result<(), VolumeError>) {
        let shard = self.shards.mine();
        let requests = &shard.requests[request.kind as usize];
        requests.latency.count(request.arrived.elapsed());
        match result {
            Ok(()) => {
                requests.bytes.fetch_add(request.len_bytes, Ordering::Relaxed);
                request.encrypted_blocks().into_iter().for_each(|blocks| shard.regions.count(blocks));
            }
            Err(error) => {
                shard.errors[position(error)].fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// As they stand now.
    pub fn counters(&self) -> IoCounters {
        let mut requests: [RequestCounters; 5] = Default::default();
        let mut errors = [0; 5];
        let mut region_written_bytes = vec![0; MAX_REGIONS];
        for shard in self.shards.all() {
            for (sum, counted) in requests.iter_mut().zip(&shard.requests) {
                sum.bytes += counted.bytes.load(Ordering::Relaxed);
                counted.latency.add_to(&mut sum.latency);
            }
            add(&mut errors, &shard.errors);
            add(&mut region_written_bytes, &shard.regions.0);
        }
        region_written_bytes
            .truncate(region_written_bytes.iter().rposition(|bytes| *bytes > 0).map_or(0, |last| last + 1));
        let [read, write, sync, discard, zero] = requests;
        let [lost_block, no_space, store, ended, out_of_range] = errors;
        let errors = ErrorCounters { lost_block, no_space, store, ended, out_of_range };
        IoCounters { read, write, sync, discard, zero, errors, region_written_bytes }
    }
}

impl Regions {
    fn count(&self, blocks: std::ops::Range<u64>) {
        let (mut at, end) = (blocks.start * BLOCK_SIZE_BYTES, blocks.end * BLOCK_SIZE_BYTES);
        while at < end {
            let region = at / REGION_BYTES;
            let next = end.min((region + 1) * REGION_BYTES);
            let region = usize::try_from(region).unwrap_or(MAX_REGIONS).min(MAX_REGIONS - 1);
            self.0[region].fetch_add(next - at, Ordering::Relaxed);
            at = next;
        }
    }
}

impl IoCounters {
    pub fn kinds(&self) -> [(&'static str, &RequestCounters); 5] {
        [
            ("read", &self.read),
            ("write", &self.write),
            ("sync", &self.sync),
            ("discard", &self.discard),
            ("zero", &self.zero),
        ]
    }
}

impl ErrorCounters {
    pub fn kinds(&self) -> [(&'static str, u64); 5] {
        [
            ("lost-block", self.lost_block),
            ("no-space", self.no_space),
            ("store", self.store),
            ("ended", self.ended),
            ("out-of-range", self.out_of_range),
        ]
    }

    pub fn total(&self) -> u64 {
        self.kinds().iter().map(|(_, count)| count).sum()
    }
}

/// In [`ErrorCounters`].
fn position(error: &VolumeError) -> usize {
    match error {
        VolumeError::LostBlock(_) => 0,
        VolumeError::Store { source, .. } if source.raw_os_error() == Some(libc::ENOSPC) => 1,
        VolumeError::Store { .. } | VolumeError::WouldWait => 2,
        VolumeError::Ended(_) => 3,
        VolumeError::OutOfRange { .. } => 4,
    }
}

fn add(sums: &mut [u64], counted: &[AtomicU64]) {
    for (sum, count) in sums.iter_mut().zip(counted) {
        *sum += count.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(requests: &[(RequestKind, u64, u64)]) -> IoCounters {
        let meter = Meter::default();
        for (kind, offset, len_bytes) in requests {
            meter.answered(&IoRequest::arrived(*kind, *offset, *len_bytes), &Ok(()));
        }
        meter.counters()
    }

    #[test]
    fn requests_and_bytes_are_counted_by_kind() {
        let io = counted(&[(RequestKind::Read, 0, 100), (RequestKind::Read, 5, 50), (RequestKind::Sync, 0, 0)]);
        let totals = io.kinds().map(|(name, kind)| (name, kind.latency.total(), kind.bytes));
        assert_eq!(totals, [("read", 2, 150), ("write", 0, 0), ("sync", 1, 0), ("discard", 0, 0), ("zero", 0, 0)]);
        assert!(io.region_written_bytes.is_empty(), "nothing was encrypted");
    }

    #[test]
    fn what_is_encrypted_counts_for_the_key_of_its_region() {
        let last = REGION_BYTES - 4096;
        let io = counted(&[(RequestKind::Write, last + 100, 4096), (RequestKind::Write, 5 * REGION_BYTES, 8192)]);
        assert_eq!(io.region_written_bytes, [4096, 4096, 0, 0, 0, 8192]);
        // Whole blocks of a discard are given back, parts are overwritten.
        assert!(counted(&[(RequestKind::Discard, 4096, 8192)]).region_written_bytes.is_empty());
        assert_eq!(counted(&[(RequestKind::Discard, 4095, 8194)]).region_written_bytes, [8192]);
        assert_eq!(counted(&[(RequestKind::Discard, 4097, 8)]).region_written_bytes, [4096]);
        assert_eq!(counted(&[(RequestKind::Zero, 0, 8192)]).region_written_bytes, [8192]);
    }

    #[test]
    fn a_failure_is_counted_by_its_kind_and_brings_no_bytes() {
        let meter = Meter::default();
        let fail = |error| meter.answered(&IoRequest::arrived(RequestKind::Write, 0, 4096), &Err(error));
        let store = |source| VolumeError::Store { action: "write", source };
        fail(store(std::io::Error::from_raw_os_error(libc::ENOSPC)));
        fail(store(std::io::Error::from_raw_os_error(libc::EIO)));
        fail(VolumeError::Ended("over".to_owned()));
        let io = meter.counters();
        assert_eq!((io.write.latency.total(), io.write.bytes, io.region_written_bytes.len()), (3, 0, 0));
        assert_eq!(io.errors, ErrorCounters { no_space: 1, store: 1, ended: 1, ..ErrorCounters::default() });
    }
}
