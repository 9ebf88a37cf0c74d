//! Makes a snapshot: takes chunks from many threads, in any order, and commits them at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::format::SnapshotId;
use crate::secret::SealingKey;
use crate::volume::written_bytes;

use super::attempt::Attempt;
use super::entry::{ChunkEntry, ContentHash, encode_entries, leaf_of};
use super::open_leaf::{Known, OpenLeaf};
use super::root::LeafRef;
use super::seal::{self, Place};
use super::upload::{Progress, Upload};
use super::{CHUNKS_PER_LEAF, HeaderDraft, SnapshotError, SnapshotReader, SnapshotStore, Uploader, commit, marker};

/// How an upload is done, and by whom.
pub struct UploadOptions {
    pub compress: bool,
    pub uploader: Uploader,
    /// Once set, everything answers [`SnapshotError::Cancelled`]; what was stored stays for the next attempt.
    pub cancelled: Arc<AtomicBool>,
}

/// Shared by the threads that read a volume. Dropped before it was finished, it leaves its marker and its packs.
pub struct SnapshotWriter {
    pub(super) upload: Upload,
    pub(super) draft: HeaderDraft,
    pub(super) base: Option<SnapshotReader>,
    pub(super) attempt: Attempt,
    compress: bool,
    leaves: Mutex<Leaves>,
}

/// Leaves of which base and attempt are kept in memory.
const KNOWN_LEAVES: usize = 16;

#[derive(Default)]
struct Leaves {
    open: HashMap<u64, OpenLeaf>,
    closed: BTreeSet<u64>,
    finished: Finished,
    clock: u64,
}

/// What became of the leaves that are closed.
#[derive(Default)]
pub(super) struct Finished {
    /// None: no chunk of it is left.
    pub(super) leaves: BTreeMap<u64, Option<LeafRef>>,
    pub(super) incremental_bytes: u64,
}

impl SnapshotWriter {
    /// Puts the marker, and takes up what an interrupted upload of the same snapshot has stored.
    ///
    /// # Errors
    /// [`SnapshotError::NoSuchSnapshot`]: the base was deleted meanwhile. [`SnapshotError::Refused`]: the snapshot is
    /// there already, or the base is of another volume, or of a larger one.
    pub fn begin(
        store: Arc<SnapshotStore>,
        draft: HeaderDraft,
        key: SealingKey,
        base: Option<SnapshotReader>,
        options: UploadOptions,
    ) -> Result<Self, SnapshotError> {
        let id = &draft.snapshot_id;
        commit::refuse_committed(&store, id)?;
        if let Some(base) = &base {
            let of = &base.header().draft;
            if of.volume_id != draft.volume_id || of.size_bytes > draft.size_bytes {
                return Err(SnapshotError::Refused(format!(
                    "snapshot {id} cannot be made from {}",
                    base.header().id()
                )));
            }
        }
        let marker = marker::put(&store, &draft, base.as_ref().map(SnapshotReader::header), options.uploader)?;
        let attempt = Attempt::find(&store, id, &key)?;
        let last = attempt.numbers().last().copied();
        let upload = Upload::new(store, key, marker, last, options.cancelled);
        Ok(Self { upload, draft, base, attempt, compress: options.compress, leaves: Mutex::default() })
    }

    /// The hash of the chunk as the interrupted attempt has it, or else the base. None: neither has it.
    ///
    /// # Errors
    /// The store; a leaf that is damaged; a chunk whose leaf is closed.
    pub fn known(&self, chunk: u64) -> Result<Option<ContentHash>, SnapshotError> {
        self.upload.check()?;
        let mut leaves = self.leaves();
        let leaf = self.open_leaf(&mut leaves, chunk)?;
        Ok(self.load(leaf, leaf_of(chunk))?.hash(chunk))
    }

    /// As [`SnapshotWriter::known`] says.
    ///
    /// # Errors
    /// As [`SnapshotWriter::known`]; or the chunk was mentioned before.
    pub fn keep(&self, chunk: u64) -> Result<(), SnapshotError> {
        self.upload.check()?;
        let mut leaves = self.leaves();
        let leaf = self.open_leaf(&mut leaves, chunk)?;
        let kept = self.load(leaf, leaf_of(chunk))?.attempt.get(&chunk).cloned();
        self.mention(leaves, chunk, |leaf| {
            if kept.is_some() {
                leaf.replace(chunk, kept);
            }
        })
    }

    /// Nothing is written in the chunk.
    ///
    /// # Errors
    /// The chunk was mentioned before; or what became of the upload.
    pub fn hole(&self, chunk: u64) -> Result<(), SnapshotError> {
        self.upload.check()?;
        self.mention(self.leaves(), chunk, |leaf| leaf.replace(chunk, None))
    }

    /// Compresses and seals in the caller's thread; waits while too much is under way.
    ///
    /// # Errors
    /// `data` is not the blocks of `written`; the chunk was mentioned before; or what became of the upload.
    pub fn put(&self, chunk: u64, hash: ContentHash, written: u128, data: &[u8]) -> Result<(), SnapshotError> {
        self.upload.check()?;
        if written == 0 || data.len() != written_bytes(written) {
            return Err(SnapshotError::Refused(format!("chunk {chunk} was given {} bytes", data.len())));
        }
        self.check_range(chunk)?;
        let place = Place::Chunk { number: chunk, written };
        let sealed = seal::seal(&self.draft.volume_id, place, self.compress, data);
        let sealed = sealed.map_err(|error| SnapshotError::host("seal a chunk", error))?;
        let entry = self.upload.append_chunk(&sealed.bytes, |at| ChunkEntry {
            chunk,
            at,
            key: sealed.key,
            written,
            hash,
            codec: sealed.codec,
        })?;
        self.mention(self.leaves(), chunk, |leaf| leaf.replace(chunk, Some(entry)))
    }

    /// The chunk of another snapshot of the same volume, as it is sealed and under the key that it has.
    ///
    /// # Errors
    /// The chunk was mentioned before; or what became of the upload.
    pub fn put_sealed(&self, entry: &ChunkEntry, sealed: &[u8]) -> Result<(), SnapshotError> {
        let chunk = entry.chunk;
        self.check_range(chunk)?;
        let entry = self.upload.append_chunk(sealed, |at| ChunkEntry { at, ..entry.clone() })?;
        self.mention(self.leaves(), chunk, |leaf| leaf.replace(chunk, Some(entry)))
    }

    /// Of this leaf nothing more will be mentioned: its other chunks stay as the base has them. A leaf of which every chunk
    /// was mentioned is closed without that; one that is left open until the end takes memory for each of its new chunks.
    ///
    /// # Errors
    /// What became of the upload.
    pub fn close_leaf(&self, number: u64) -> Result<(), SnapshotError> {
        self.upload.check()?;
        let leaf = {
            let mut leaves = self.leaves();
            let leaf = leaves.open.remove(&number);
            leaves.closed.insert(number);
            leaf
        };
        leaf.map_or(Ok(()), |leaf| self.close(number, leaf))
    }

    /// For a copy: the base's chunks that its source does not have are holes.
    pub(super) fn drop_what_is_not_in(&self, source: &SnapshotReader) -> Result<(), SnapshotError> {
        let Some(base) = &self.base else { return Ok(()) };
        for number in base.leaf_numbers() {
            let entries = source.leaf(number).map_or(Ok(Vec::new()), |leaf| source.load_leaf(leaf))?;
            let there: HashSet<u64> = entries.iter().map(|entry| entry.chunk).collect();
            for entry in self.base_entries(number)?.iter().filter(|entry| !there.contains(&entry.chunk)) {
                self.hole(entry.chunk)?;
            }
        }
        Ok(())
    }

    /// The moment that it shows, which comes after its beginning, and how large the volume was then: not less than at its
    /// beginning.
    pub fn shows(&mut self, created_at: Timestamp, frozen: bool, size_bytes: u64) {
        self.draft.size_bytes = size_bytes;
        self.draft.created_at = created_at;
        self.draft.frozen = frozen;
    }

    /// What it is made from.
    pub fn base(&self) -> Option<&SnapshotId> {
        self.base.as_ref().map(|base| base.header().id())
    }

    pub fn progress(&self) -> Progress {
        self.upload.progress()
    }

    /// Closes what is open. Chunks that were not mentioned stay as the base has them.
    pub(super) fn close_all(&self) -> Result<Finished, SnapshotError> {
        let open = std::mem::take(&mut self.leaves().open);
        let mut in_order: Vec<(u64, OpenLeaf)> = open.into_iter().collect();
        in_order.sort_unstable_by_key(|(number, _)| *number);
        for (number, leaf) in in_order {
            self.close(number, leaf)?;
        }
        Ok(std::mem::take(&mut self.leaves().finished))
    }

    fn leaves(&self) -> MutexGuard<'_, Leaves> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_range(&self, chunk: u64) -> Result<(), SnapshotError> {
        let inside = chunk < self.draft.chunk_count();
        if inside { Ok(()) } else { Err(SnapshotError::Refused(format!("the volume has no chunk {chunk}"))) }
    }

    fn open_leaf<'a>(&self, leaves: &'a mut Leaves, chunk: u64) -> Result<&'a mut OpenLeaf, SnapshotError> {
        self.check_range(chunk)?;
        let number = leaf_of(chunk);
        if leaves.closed.contains(&number) {
            return Err(mentioned_twice(chunk));
        }
        leaves.clock += 1;
        if leaves.open.get(&number).is_none_or(|leaf| leaf.known.is_none()) {
            forget_least_used(&mut leaves.open);
        }
        let rest = self.draft.chunk_count() - number * CHUNKS_PER_LEAF as u64;
        let len = usize::try_from(rest).map_or(CHUNKS_PER_LEAF, |rest| rest.min(CHUNKS_PER_LEAF));
        let leaf = leaves.open.entry(number).or_insert_with(|| OpenLeaf::new(len));
        leaf.used_at = leaves.clock;
        Ok(leaf)
    }

    fn load(&self, leaf: &mut OpenLeaf, number: u64) -> Result<Arc<Known>, SnapshotError> {
        if let Some(known) = &leaf.known {
            return Ok(Arc::clone(known));
        }
        let (store, key) = (self.upload.store(), self.upload.key());
        let attempt = self.attempt.chunks(store, self.upload.id(), key, number)?;
        let known = Arc::new(Known { base: self.base_entries(number)?, attempt });
        leaf.known = Some(Arc::clone(&known));
        Ok(known)
    }

    fn base_entries(&self, number: u64) -> Result<Vec<ChunkEntry>, SnapshotError> {
        let Some(base) = &self.base else { return Ok(Vec::new()) };
        base.leaf(number).map_or(Ok(Vec::new()), |leaf| base.load_leaf(leaf))
    }

    fn mention(
        &self,
        mut leaves: MutexGuard<'_, Leaves>,
        chunk: u64,
        change: impl FnOnce(&mut OpenLeaf),
    ) -> Result<(), SnapshotError> {
        let leaf = self.open_leaf(&mut leaves, chunk)?;
        if !leaf.mention(chunk) {
            return Err(mentioned_twice(chunk));
        }
        change(leaf);
        if !leaf.is_complete() {
            return Ok(());
        }
        let number = leaf_of(chunk);
        let leaf = leaves.open.remove(&number).expect("it was open a moment ago");
        leaves.closed.insert(number);
        drop(leaves);
        self.close(number, leaf)
    }

    fn close(&self, number: u64, mut leaf: OpenLeaf) -> Result<(), SnapshotError> {
        let base = match leaf.known.take().map(Arc::try_unwrap) {
            Some(Ok(known)) => known.base,
            _ => self.base_entries(number)?,
        };
        let incremental_bytes: u64 = leaf.fresh.iter().map(|entry| entry.data_len() as u64).sum();
        let closed = match leaf.merged(base) {
            None => self.base.as_ref().and_then(|base| base.leaf(number)).cloned(),
            Some(entries) if entries.is_empty() => None,
            Some(entries) => Some(self.store_leaf(number, &entries)?),
        };
        let mut leaves = self.leaves();
        leaves.finished.leaves.insert(number, closed);
        leaves.finished.incremental_bytes += incremental_bytes;
        Ok(())
    }

    fn store_leaf(&self, number: u64, entries: &[ChunkEntry]) -> Result<LeafRef, SnapshotError> {
        let plain = encode_entries(entries.iter());
        // Never compressed: it is keys for the most part, and they would stay in the memory of zstd.
        let sealed = seal::seal(&self.draft.volume_id, Place::Leaf { number }, false, &plain);
        let sealed = sealed.map_err(|error| SnapshotError::host("seal a leaf", error))?;
        let at = self.upload.append_leaf(&sealed.bytes)?;
        let data_bytes = entries.iter().map(|entry| entry.data_len() as u64).sum();
        Ok(LeafRef { number, packs: LeafRef::packs_of(&at, entries), at, key: sealed.key, data_bytes })
    }
}

fn forget_least_used(open: &mut HashMap<u64, OpenLeaf>) {
    let known = open.values().filter(|leaf| leaf.known.is_some());
    if known.count() >= KNOWN_LEAVES {
        let oldest = open.values_mut().filter(|leaf| leaf.known.is_some()).min_by_key(|leaf| leaf.used_at);
        if let Some(oldest) = oldest {
            oldest.known = None;
        }
    }
}

fn mentioned_twice(chunk: u64) -> SnapshotError {
    SnapshotError::Refused(format!("chunk {chunk} was given twice"))
}
