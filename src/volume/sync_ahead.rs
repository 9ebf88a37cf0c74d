//! What is durable before a sync is asked for.
//!
//! Whoever commits writes, and asks for a sync when the write is answered. A write of which that is likely makes itself durable on its way.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Default)]
pub(super) struct SyncAhead {
    /// Writes whose bytes the store has, each counted before a sync that covers it may begin.
    written: AtomicU64,
    /// If it is not less than `written`, all of these are durable.
    durable: AtomicU64,
}

impl SyncAhead {
    pub(super) fn written(&self) {
        self.written.fetch_add(1, Ordering::Release);
    }

    pub(super) fn count(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// As many as were counted before a sync began that has succeeded.
    pub(super) fn synced(&self, count: u64) {
        self.durable.fetch_max(count, Ordering::Release);
    }

    /// A write has made itself durable, and is counted; `before` were durable when it began. If another was counted meanwhile, there are
    /// more than this says to be durable.
    pub(super) fn synced_itself(&self, before: u64) {
        self.durable.fetch_max(before + 1, Ordering::Release);
    }

    /// How many there are, if all that was written before this call is durable. Of a volume that nothing was written to nobody knows.
    pub(super) fn all_durable(&self) -> Option<u64> {
        // In this order: a write that has made itself durable is in the count then, and one that was counted instead of it is too much.
        let durable = self.durable.load(Ordering::Acquire);
        let written = self.count();
        (written > 0 && durable >= written).then_some(written)
    }
}
