//! The point in time of a snapshot: a barrier between the writes before it and those after, and from then on a hook that
//! is called before a chunk changes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_utils::sync::ShardedLock;

use super::error::VolumeError;
use super::{BLOCKS_PER_CHUNK, ChangeMap, Volume};

/// Told before a chunk changes, from the writer's thread and with the blocks locked that it writes; when it returns, the
/// chunk may change. Reads of these blocks wait that long.
pub trait BeforeChunkWrite: Send + Sync {
    fn before_chunk_write(&self, chunk: u64);
}

#[derive(Default)]
pub(super) struct Epoch {
    /// All that a write looks at while no snapshot runs.
    runs: AtomicBool,
    hook: ShardedLock<Option<Arc<dyn BeforeChunkWrite>>>,
}

impl Epoch {
    fn set(&self, hook: Option<Arc<dyn BeforeChunkWrite>>) {
        let runs = hook.is_some();
        *self.hook.write().unwrap_or_else(PoisonError::into_inner) = hook;
        self.runs.store(runs, Ordering::Release);
    }

    fn hook(&self) -> Option<Arc<dyn BeforeChunkWrite>> {
        if !self.runs.load(Ordering::Acquire) {
            return None;
        }
        // Cloned, so that nobody who sets it waits for a hook that runs.
        self.hook.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Volume {
    /// Tells `changes` of every chunk, before it changes. Panics if it is for a volume of another size.
    #[must_use]
    pub fn with_changes(self, changes: ChangeMap) -> Self {
        assert_eq!(changes.chunk_count(), self.chunk_count(), "the change map is that of this volume");
        Self { changes: Some(changes), ..self }
    }

    pub fn changes(&self) -> Option<&ChangeMap> {
        self.changes.as_ref()
    }

    /// The barrier: waits for the writes and discards that are under way, while new ones wait for it, and then runs
    /// `at_barrier`. From the return on `hook` is called before any chunk changes. Reads go on.
    ///
    /// What was answered before is before the barrier, what is asked for after the return is behind it. A request under way
    /// may be cut at a block, as by a power cut. There is one epoch at a time: another hook takes the place of the first.
    ///
    /// # Errors
    /// [`VolumeError::Ended`], also if it ends while this waits.
    pub fn begin_epoch<T>(
        &self,
        hook: Arc<dyn BeforeChunkWrite>,
        at_barrier: impl FnOnce() -> T,
    ) -> Result<T, VolumeError> {
        self.state.check_serving()?;
        let barrier = self.ranges.hold_writers_back(|| self.state.check_not_ended())?;
        let result = at_barrier();
        self.epoch.set(Some(hook));
        drop(barrier);
        Ok(result)
    }

    /// Takes the hook away; calls of it that are under way may go on for a while. Does nothing if no epoch runs.
    pub fn end_epoch(&self) {
        self.epoch.set(None);
    }

    /// Call with `blocks` locked, before the store or the allocation map changes.
    pub(super) fn before_change(&self, blocks: &Range<u64>) -> Result<(), VolumeError> {
        let chunks = blocks.start / BLOCKS_PER_CHUNK..blocks.end.div_ceil(BLOCKS_PER_CHUNK);
        if let Some(changes) = &self.changes {
            chunks.clone().for_each(|chunk| changes.mark(chunk));
        }
        if let Some(hook) = self.epoch.hook() {
            chunks.for_each(|chunk| hook.before_chunk_write(chunk));
        }
        // It may have ended while this waited, for the barrier or in the hook.
        self.state.check_not_ended()
    }
}

#[cfg(test)]
mod tests;
