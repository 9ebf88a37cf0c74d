//! Reads a snapshot: nothing leaves here that was not opened with the keys of its manifest.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::format::SnapshotId;
use crate::secret::SealingKey;

use super::entry::{ChunkEntry, decode_leaf};
use super::root::LeafRef;
use super::runs::{Run, coalesce};
use super::seal::{self, Codec, Place};
use super::upload::LOOK;
use super::{CHUNK_SIZE, SnapshotError, SnapshotHeader, SnapshotStore, manifest, pack};

/// Threads that open chunks; the store is waited for elsewhere.
const MAX_THREADS: usize = 4;
/// Runs that each thread has under way: with those it bounds the memory of a reader.
const RUNS_AHEAD: usize = 3;

/// A committed snapshot, opened with its key.
pub struct SnapshotReader {
    store: Arc<SnapshotStore>,
    header: SnapshotHeader,
    leaves: Vec<LeafRef>,
}

impl SnapshotReader {
    /// # Errors
    /// [`SnapshotError::NoSuchSnapshot`], or it does not open with this key.
    #[expect(clippy::needless_pass_by_value, reason = "the key is wiped once the root has given out the others")]
    pub fn open(store: Arc<SnapshotStore>, id: &SnapshotId, key: SealingKey) -> Result<Self, SnapshotError> {
        let object = store.read(&manifest::object_name(id))?;
        let object = object.ok_or_else(|| SnapshotError::NoSuchSnapshot(id.clone()))?;
        let (header, leaves) = manifest::open(id, &object, &key)?;
        Ok(Self { store, header, leaves })
    }

    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// Those of 512 MiB each in which something was written, in order.
    pub fn leaf_numbers(&self) -> impl Iterator<Item = u64> {
        self.leaves.iter().map(|leaf| leaf.number)
    }

    /// One more than the number of the last leaf.
    pub fn leaf_count(&self) -> u64 {
        self.leaves.last().map_or(0, |leaf| leaf.number + 1)
    }

    /// Plaintext of the chunks of one leaf.
    pub fn leaf_data_bytes(&self, number: u64) -> u64 {
        self.leaf(number).map_or(0, |leaf| leaf.data_bytes)
    }

    /// Every chunk of those leaves, in no order: its number, which of its blocks were written, and those blocks.
    /// `visit` is called from several threads.
    ///
    /// # Errors
    /// The first thing that is wrong, and what `visit` answered.
    pub fn read_leaves(
        &self,
        leaves: Range<u64>,
        visit: ChunkVisit,
        cancelled: &AtomicBool,
    ) -> Result<(), SnapshotError> {
        self.visit_sealed(leaves, &|entry, _, data| visit(entry.chunk, entry.written, data), cancelled)
    }

    /// The same, with each chunk as it is sealed, for copies.
    pub(super) fn visit_sealed(
        &self,
        leaves: Range<u64>,
        visit: SealedVisit,
        cancelled: &AtomicBool,
    ) -> Result<(), SnapshotError> {
        let first = self.leaves.partition_point(|leaf| leaf.number < leaves.start);
        let end = self.leaves.partition_point(|leaf| leaf.number < leaves.end).max(first);
        let work = Work {
            reader: self,
            runs: Mutex::new((self.leaves[first..end].iter(), VecDeque::new())),
            failure: Mutex::default(),
            visit,
            cancelled,
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| work.run());
            }
            work.run();
        });
        work.failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    pub(super) fn store(&self) -> &Arc<SnapshotStore> {
        &self.store
    }

    pub(super) fn leaves(&self) -> &[LeafRef] {
        &self.leaves
    }

    pub(super) fn leaf(&self, number: u64) -> Option<&LeafRef> {
        self.leaves.binary_search_by_key(&number, |leaf| leaf.number).ok().map(|at| &self.leaves[at])
    }

    pub(super) fn load_leaf(&self, leaf: &LeafRef) -> Result<Vec<ChunkEntry>, SnapshotError> {
        let name = pack::object_name(&leaf.at.origin, leaf.at.pack);
        let damaged =
            |problem: &str| SnapshotError::damaged(self.header.id(), &name, format!("leaf {} {problem}", leaf.number));
        let sealed = self.store.read_range(&name, u64::from(leaf.at.offset)..leaf.at.end())?;
        let mut sealed = Zeroizing::new(sealed.ok_or_else(|| damaged("is missing: there is no such object"))?.to_vec());
        if sealed.len() as u64 != u64::from(leaf.at.len) {
            return Err(damaged("is cut short"));
        }
        let place = Place::Leaf { number: leaf.number };
        let plain = seal::decrypt(&self.header.draft.volume_id, place, &leaf.key, &mut sealed);
        let plain = plain.ok_or_else(|| damaged("does not match its seal"))?;
        let entries = decode_leaf(leaf.number, plain).ok_or_else(|| damaged("makes no sense"))?;
        let inside = entries.last().is_some_and(|last| last.chunk < self.header.draft.chunk_count());
        let data_bytes: u64 = entries.iter().map(|entry| entry.data_len() as u64).sum();
        if !inside || data_bytes != leaf.data_bytes {
            return Err(damaged("does not match the root"));
        }
        Ok(entries)
    }
}

/// Given a chunk's number, which of its blocks were written, and those blocks.
pub type ChunkVisit<'a> = &'a (dyn Fn(u64, u128, &[u8]) -> Result<(), SnapshotError> + Sync);
/// Given a chunk's entry, the chunk as it is sealed, and its blocks.
pub(super) type SealedVisit<'a> = &'a (dyn Fn(&ChunkEntry, &[u8], &[u8]) -> Result<(), SnapshotError> + Sync);

/// What the threads of one reading share.
struct Work<'a> {
    reader: &'a SnapshotReader,
    runs: Mutex<(std::slice::Iter<'a, LeafRef>, VecDeque<Run>)>,
    failure: Mutex<Option<SnapshotError>>,
    visit: SealedVisit<'a>,
    cancelled: &'a AtomicBool,
}

type Fetch = JoinHandle<Result<Option<Bytes>, SnapshotError>>;

impl Work<'_> {
    fn run(&self) {
        if let Err(error) = self.fetch_and_visit() {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    fn fetch_and_visit(&self) -> Result<(), SnapshotError> {
        let mut ahead: VecDeque<(Run, Fetch)> = VecDeque::new();
        let mut scratch = Scratch { sealed: Vec::with_capacity(CHUNK_SIZE + 64), data: vec![0; CHUNK_SIZE] };
        loop {
            while ahead.len() < RUNS_AHEAD {
                let Some(run) = self.next_run()? else { break };
                let fetch = self.fetch(&run);
                ahead.push_back((run, fetch));
            }
            let Some((run, fetch)) = ahead.pop_front() else { return Ok(()) };
            let bytes = self.wait_for(fetch)?;
            let name = pack::object_name(&run.origin, run.pack);
            let missing = || self.damaged(&name, "it is missing");
            self.visit_run(&run, &bytes.ok_or_else(missing)?, &mut scratch)?;
        }
    }

    fn next_run(&self) -> Result<Option<Run>, SnapshotError> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            if let Some(run) = runs.1.pop_front() {
                return Ok(Some(run));
            }
            let Some(leaf) = runs.0.next() else { return Ok(None) };
            runs.1 = coalesce(self.reader.load_leaf(leaf)?);
        }
    }

    fn check(&self) -> Result<(), SnapshotError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SnapshotError::Cancelled);
        }
        // Of another thread, which keeps it.
        let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if failed { Err(SnapshotError::Cancelled) } else { Ok(()) }
    }

    fn fetch(&self, run: &Run) -> Fetch {
        let (objects, name) = (Arc::clone(&self.reader.store.objects), pack::object_name(&run.origin, run.pack));
        let range = run.range.clone();
        self.reader.store.runtime().spawn(async move { super::store::read_range(&*objects, &name, range).await })
    }

    fn wait_for(&self, mut fetch: Fetch) -> Result<Option<Bytes>, SnapshotError> {
        self.reader.store.block_on(async {
            loop {
                self.check()?;
                if let Ok(fetched) = tokio::time::timeout(LOOK, &mut fetch).await {
                    return fetched.expect("a fetch is neither aborted nor does it panic");
                }
            }
        })
    }

    fn visit_run(&self, run: &Run, bytes: &[u8], scratch: &mut Scratch) -> Result<(), SnapshotError> {
        let name = pack::object_name(&run.origin, run.pack);
        for entry in &run.entries {
            self.check()?;
            let at_chunk = |problem: &str| self.damaged(&name, format!("chunk {} {problem}", entry.chunk));
            let start = usize::try_from(u64::from(entry.at.offset) - run.range.start).expect("a run is a few MiB");
            let len = usize::try_from(entry.at.len).expect("a chunk is small");
            let sealed = bytes.get(start..start + len).ok_or_else(|| at_chunk("is cut short"))?;
            let data = scratch.open(self.reader, entry, sealed)?.ok_or_else(|| at_chunk("does not match its seal"))?;
            (self.visit)(entry, sealed, data)?;
        }
        Ok(())
    }

    fn damaged(&self, object: &str, problem: impl Into<String>) -> SnapshotError {
        SnapshotError::damaged(self.reader.header.id(), object, problem)
    }
}

/// Of one thread, used for every chunk.
struct Scratch {
    sealed: Vec<u8>,
    data: Vec<u8>,
}

impl Scratch {
    /// `None`: it was not sealed as its entry says.
    fn open(
        &mut self,
        reader: &SnapshotReader,
        entry: &ChunkEntry,
        sealed: &[u8],
    ) -> Result<Option<&[u8]>, SnapshotError> {
        self.sealed.clear();
        self.sealed.extend_from_slice(sealed);
        let place = Place::Chunk { number: entry.chunk, written: entry.written };
        let Some(payload) = seal::decrypt(&reader.header.draft.volume_id, place, &entry.key, &mut self.sealed) else {
            return Ok(None);
        };
        if entry.codec == Codec::Raw {
            return Ok(Some(payload));
        }
        let data = &mut self.data[..entry.data_len()];
        let whole = seal::decompress(payload, data).map_err(|error| SnapshotError::host("decompress", error))?;
        Ok(whole.then_some(data))
    }
}
