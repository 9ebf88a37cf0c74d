//! A leaf of a snapshot that is being made: which of its chunks were mentioned, and what is new of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::ChunkEntry;
use super::{CHUNKS_PER_LEAF, ContentHash};

/// What base and interrupted attempt have of one leaf.
pub(super) struct Known {
    /// In the order of the chunks.
    pub(super) base: Vec<ChunkEntry>,
    pub(super) attempt: HashMap<u64, ChunkEntry>,
}

impl Known {
    pub(super) fn hash(&self, chunk: u64) -> Option<ContentHash> {
        self.attempt.get(&chunk).or_else(|| self.base(chunk)).map(|entry| entry.hash)
    }

    fn base(&self, chunk: u64) -> Option<&ChunkEntry> {
        self.base.binary_search_by_key(&chunk, |entry| entry.chunk).ok().map(|at| &self.base[at])
    }
}

pub(super) struct OpenLeaf {
    /// Chunks of the volume in this leaf.
    len: usize,
    mentioned: Bits,
    /// No longer as the base has them.
    replaced: Bits,
    pub(super) fresh: Vec<ChunkEntry>,
    /// Read again when it is asked for after it was dropped.
    pub(super) known: Option<Arc<Known>>,
    pub(super) used_at: u64,
}

impl OpenLeaf {
    pub(super) fn new(len: usize) -> Self {
        Self { len, mentioned: Bits::default(), replaced: Bits::default(), fresh: Vec::new(), known: None, used_at: 0 }
    }

    /// `false`: it was mentioned before.
    #[must_use]
    pub(super) fn mention(&mut self, chunk: u64) -> bool {
        self.mentioned.set(chunk)
    }

    pub(super) fn replace(&mut self, chunk: u64, entry: Option<ChunkEntry>) {
        self.replaced.set(chunk);
        self.fresh.extend(entry);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.mentioned.count == self.len
    }

    /// The entries as they are from now on. `None`: as in the base, whatever was said.
    pub(super) fn merged(self, base: Vec<ChunkEntry>) -> Option<Vec<ChunkEntry>> {
        let before = base.len();
        let mut entries: Vec<ChunkEntry> =
            base.into_iter().filter(|entry| !self.replaced.contains(entry.chunk)).collect();
        if self.fresh.is_empty() && entries.len() == before {
            return None;
        }
        entries.extend(self.fresh);
        entries.sort_unstable_by_key(|entry| entry.chunk);
        Some(entries)
    }
}

/// One bit for each chunk of a leaf.
#[derive(Default)]
struct Bits {
    words: [u64; CHUNKS_PER_LEAF / 64],
    count: usize,
}

impl Bits {
    /// `false`: it was set.
    fn set(&mut self, chunk: u64) -> bool {
        let (word, bit) = place(chunk);
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(fresh);
        fresh
    }

    fn contains(&self, chunk: u64) -> bool {
        let (word, bit) = place(chunk);
        self.words[word] & bit != 0
    }
}

fn place(chunk: u64) -> (usize, u64) {
    let index = usize::try_from(chunk % CHUNKS_PER_LEAF as u64).expect("below 1024");
    (index / 64, 1 << (index % 64))
}
