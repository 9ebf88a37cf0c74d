//! Chunks that lie next to each other in a pack, to be fetched at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::format::SnapshotId;

use super::entry::ChunkEntry;

const MAX_RUN_LEN: u64 = 4 << 20;
/// Less than this is cheaper to fetch than to ask again.
const MAX_GAP: u64 = 64 << 10;

pub(super) struct Run {
    pub(super) origin: Arc<SnapshotId>,
    pub(super) pack: u32,
    pub(super) range: Range<u64>,
    pub(super) entries: Vec<ChunkEntry>,
}

pub(super) fn coalesce(mut entries: Vec<ChunkEntry>) -> VecDeque<Run> {
    entries.sort_by(|one, other| {
        let key = |entry: &ChunkEntry| (entry.at.pack, entry.at.offset);
        one.at.origin.cmp(&other.at.origin).then_with(|| key(one).cmp(&key(other)))
    });
    let mut runs: VecDeque<Run> = VecDeque::new();
    for entry in entries {
        let start = u64::from(entry.at.offset);
        let end = entry.at.end();
        if let Some(run) = runs.back_mut()
            && run.origin == entry.at.origin
            && run.pack == entry.at.pack
            && start <= run.range.end + MAX_GAP
            && end.max(run.range.end) - run.range.start <= MAX_RUN_LEN
        {
            run.range.end = run.range.end.max(end);
            run.entries.push(entry);
            continue;
        }
        let at = &entry.at;
        runs.push_back(Run { origin: Arc::clone(&at.origin), pack: at.pack, range: start..end, entries: vec![entry] });
    }
    runs
}
