//! The point in time: every chunk of it is read before the first write to it, by the snapshot or, if a writer comes first, by
//! that writer, into the spill.
//!
//! A chunk is wanted until somebody has a copy of it. Whoever copies it claims it first, and all writers of that chunk
//! wait for him: so nobody writes to a chunk that is being read.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::SnapshotError;
use super::spill::{Slot, Spill};
use crate::volume::{BeforeChunkWrite, CHUNK_SIZE, Volume, written_bytes};

/// How long writers wait for room in the spill before the snapshot is given up for them.
const FULL_DEADLINE: Duration = Duration::from_secs(10);

/// In chunks: two workers that read one after the other leave a disk idle.
const READ_AHEAD: u64 = 16;

/// A database that is in use does not go that long without a write.
const QUIET_MS: u64 = 200;

/// How often who waits looks whether the volume has ended.
const END_CHECK_INTERVAL: Duration = Duration::from_millis(20);

thread_local! {
    /// Of a writer, from its first copy on: new pages for each would cost as much as the copy.
    static CIPHERTEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Which chunks a worker of the snapshot takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Worker {
    Steady,
    /// Only while nobody else wants the volume and the processors, or writers may soon have to wait for room.
    Helping,
}

pub(super) struct CopyBeforeWrite {
    volume: Weak<Volume>,
    /// A bit for each chunk that the snapshot needs and of which there is no copy yet. Set at the barrier, for as many chunks as
    /// there are then: the volume may grow before and after.
    wanted: OnceLock<Vec<AtomicU64>>,
    state: Mutex<State>,
    changed: Condvar,
    spill_file: File,
    /// When the volume was last written, in milliseconds from `begun`.
    last_write_ms: AtomicU64,
    begun: Instant,
    /// Set when it fails, for workers that wait for the store.
    stop: Arc<AtomicBool>,
}

struct State {
    spill: Spill,
    /// Since when it has been full without a break.
    full_since: Option<Instant>,
    /// Being copied.
    claimed: HashSet<u64>,
    /// Copied by writers: the written map, and where the ciphertext is, if there is any.
    spilled: BTreeMap<u64, (u128, Option<Slot>)>,
    /// No chunk before this one is wanted by the snapshot's own workers.
    cursor: u64,
    /// Those before this one were asked for already.
    prefetched: u64,
    failure: Option<SnapshotError>,
}

impl State {
    /// Of `words` words of wanted chunks none is left, nor a copy of one.
    fn is_over(&self, words: usize) -> bool {
        self.cursor == words as u64 * 64 && self.claimed.is_empty() && self.spilled.is_empty()
    }
}

/// A chunk for the snapshot's worker, its ciphertext in the worker's buffer.
pub(super) struct Copied {
    pub(super) chunk: u64,
    pub(super) written: u128,
}

impl CopyBeforeWrite {
    /// Wants nothing yet.
    pub(super) fn new(volume: &Arc<Volume>, spill: Spill, stop: &Arc<AtomicBool>) -> std::io::Result<Self> {
        Ok(Self {
            volume: Arc::downgrade(volume),
            stop: Arc::clone(stop),
            wanted: OnceLock::new(),
            spill_file: spill.file()?,
            state: Mutex::new(State {
                spill,
                full_since: None,
                claimed: HashSet::new(),
                spilled: BTreeMap::new(),
                cursor: 0,
                prefetched: 0,
                failure: None,
            }),
            changed: Condvar::new(),
            last_write_ms: AtomicU64::new(0),
            begun: Instant::now(),
        })
    }

    /// At the barrier: a bit for each chunk that the snapshot needs.
    pub(super) fn want(&self, bits: &[u64]) {
        let first = self.wanted.set(bits.iter().copied().map(AtomicU64::new).collect());
        assert!(first.is_ok(), "a snapshot has one moment");
    }

    fn wanted(&self) -> &[AtomicU64] {
        self.wanted.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn wanted_count(&self) -> u64 {
        self.wanted().iter().map(|word| u64::from(word.load(Ordering::Acquire).count_ones())).sum()
    }

    /// The next chunk, in `ciphertext`; those that writers had to copy first, to make room for others. `None`: that was all.
    pub(super) fn next(
        &self,
        worker: Worker,
        volume: &Volume,
        ciphertext: &mut [u8],
    ) -> Result<Option<Copied>, SnapshotError> {
        let mut state = self.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if state.is_over(self.wanted().len()) {
                return Ok(None);
            }
            if worker == Worker::Helping && self.gives_way(&state) {
                state = self.wait(state);
                continue;
            }
            if let Some((chunk, (written, slot))) = state.spilled.pop_first() {
                drop(state);
                let len = written_bytes(written);
                let read = slot.map_or(Ok(()), |slot| slot.read(&self.spill_file, &mut ciphertext[..len]));
                if let Some(slot) = slot {
                    self.give_back(slot);
                }
                read.map_err(|error| SnapshotError::host("read the spill", error))?;
                return Ok(Some(Copied { chunk, written }));
            }
            if let Some(chunk) = self.next_unclaimed(&mut state) {
                state.claimed.insert(chunk);
                let ahead = state.prefetched.max(chunk)..chunk + READ_AHEAD;
                state.prefetched = ahead.end;
                drop(state);
                ahead.filter(|chunk| self.is_wanted(*chunk)).for_each(|chunk| volume.prefetch_chunk(chunk));
                let read = volume.read_chunk(chunk, ciphertext);
                self.copied(chunk, None);
                let written = read.map_err(|error| SnapshotError::Volume(error.to_string()))?;
                return Ok(Some(Copied { chunk, written }));
            }
            // A writer may still be copying the last one.
            if !state.is_over(self.wanted().len()) {
                state = self.wait(state);
            }
        }
    }

    /// From now on writers go on without a copy. The first reason is the one that counts.
    pub(super) fn fail(&self, error: SnapshotError) {
        self.lock().failure.get_or_insert(error);
        self.stop.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Why writers go on without a copy.
    pub(super) fn failure(&self) -> Option<SnapshotError> {
        self.lock().failure.clone()
    }

    fn next_unclaimed(&self, state: &mut State) -> Option<u64> {
        let first = usize::try_from(state.cursor / 64).expect("below 2^21");
        for (index, word) in self.wanted().iter().enumerate().skip(first) {
            let mut bits = word.load(Ordering::Acquire);
            while bits != 0 {
                let chunk = index as u64 * 64 + u64::from(bits.trailing_zeros());
                if !state.claimed.contains(&chunk) {
                    state.cursor = index as u64 * 64;
                    return Some(chunk);
                }
                bits &= bits - 1;
            }
        }
        state.cursor = self.wanted().len() as u64 * 64;
        None
    }

    /// After a chunk: while somebody else wants the volume, half of the time is theirs.
    pub(super) fn rest_as_long_as(&self, worked: Duration) {
        let gives_way = self.gives_way(&self.lock());
        if gives_way {
            thread::sleep(worked.min(END_CHECK_INTERVAL));
        }
    }

    /// Unless writers may soon have to wait for room.
    fn gives_way(&self, state: &State) -> bool {
        self.is_written() && !state.spill.is_half_full()
    }

    fn is_written(&self) -> bool {
        let last = self.last_write_ms.load(Ordering::Relaxed);
        last > 0 && self.now_ms().saturating_sub(last) < QUIET_MS
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_wanted(&self, chunk: u64) -> bool {
        let (word, bit) = place(chunk);
        self.wanted().get(word).is_some_and(|word| word.load(Ordering::Acquire) & bit != 0)
    }

    /// The claim ends: there is a copy.
    fn copied(&self, chunk: u64, spilled: Option<(u128, Option<Slot>)>) {
        let mut state = self.lock();
        let (word, bit) = place(chunk);
        self.wanted()[word].fetch_and(!bit, Ordering::AcqRel);
        state.claimed.remove(&chunk);
        if let Some(copy) = spilled {
            state.spilled.insert(chunk, copy);
        }
        drop(state);
        self.changed.notify_all();
    }

    fn give_back(&self, slot: Slot) {
        let mut state = self.lock();
        state.spill.give_back(slot);
        state.full_since = None;
        drop(state);
        self.changed.notify_all();
    }

    /// By the writer: claims the chunk and room for it. `None`: it may change now.
    fn claim(&self, chunk: u64) -> Option<Slot> {
        let mut state = self.lock();
        loop {
            let ended = self.volume.upgrade().is_none_or(|volume| volume.ended().is_some());
            if ended || state.failure.is_some() || !self.is_wanted(chunk) {
                return None;
            }
            if !state.claimed.contains(&chunk) {
                if let Some(slot) = state.spill.take() {
                    state.claimed.insert(chunk);
                    return Some(slot);
                }
                let since = *state.full_since.get_or_insert_with(Instant::now);
                if since.elapsed() > FULL_DEADLINE {
                    drop(state);
                    let seconds = FULL_DEADLINE.as_secs();
                    self.fail(SnapshotError::Volume(format!(
                        "the spill of the snapshot was full for {seconds} s: the volume is written faster than the store takes \
                         the snapshot. Give it more room with --spill"
                    )));
                    return None;
                }
            }
            state = self.wait(state);
        }
    }

    fn spill(&self, volume: &Volume, chunk: u64, slot: Slot, buffer: &mut Vec<u8>) -> Result<u128, SnapshotError> {
        buffer.resize(CHUNK_SIZE, 0);
        let written = volume.read_chunk(chunk, buffer).map_err(|error| SnapshotError::Volume(error.to_string()))?;
        let bytes = &buffer[..written_bytes(written)];
        if !bytes.is_empty() {
            slot.write(&self.spill_file, bytes).map_err(|error| SnapshotError::host("write the spill", error))?;
        }
        Ok(written)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, END_CHECK_INTERVAL).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl BeforeChunkWrite for CopyBeforeWrite {
    fn before_chunk_write(&self, chunk: u64) {
        self.last_write_ms.store(self.now_ms(), Ordering::Relaxed);
        if !self.is_wanted(chunk) {
            return;
        }
        let Some(slot) = self.claim(chunk) else { return };
        let Some(volume) = self.volume.upgrade() else { return };
        match CIPHERTEXT.with_borrow_mut(|buffer| self.spill(&volume, chunk, slot, buffer)) {
            Ok(0) => {
                self.give_back(slot);
                self.copied(chunk, Some((0, None)));
            }
            Ok(written) => self.copied(chunk, Some((written, Some(slot)))),
            Err(error) => {
                // The writer must not suffer: the snapshot does.
                self.fail(error);
                self.give_back(slot);
                self.copied(chunk, None);
            }
        }
    }
}

fn place(chunk: u64) -> (usize, u64) {
    (usize::try_from(chunk / 64).expect("below 2^21"), 1 << (chunk % 64))
}
