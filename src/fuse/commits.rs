//! Whoever commits writes, and asks for a sync when the write is answered; after a few commits the next sync can be foreseen.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// So many commits in a row make another one likely. Who does not commit so often loses a sync or two that nobody needed.
const LIKELY: u32 = 4;

#[derive(Default)]
pub(super) struct Commits {
    /// Syncs in a row before which there was one write, and nothing beside it.
    in_a_row: AtomicU32,
    /// A write was answered since the last sync.
    unsynced: AtomicBool,
}

impl Commits {
    /// A write was answered, that came `alone` or among other requests. Whether somebody is likely to ask for a sync now.
    pub(super) fn written(&self, alone: bool) -> bool {
        if self.unsynced.swap(true, Ordering::Relaxed) || !alone {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        self.in_a_row.load(Ordering::Relaxed) >= LIKELY
    }

    /// A sync was asked for.
    pub(super) fn synced(&self) {
        if self.unsynced.swap(false, Ordering::Relaxed) {
            self.in_a_row.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_commits(count: u32) -> Commits {
        let commits = Commits::default();
        for _ in 0..count {
            commits.written(true);
            commits.synced();
        }
        commits
    }

    #[test]
    fn a_sync_is_foreseen_after_a_few_commits_in_a_row() {
        assert!(!after_commits(LIKELY - 1).written(true));
        assert!(after_commits(LIKELY).written(true));
    }

    #[test]
    fn writes_without_a_sync_or_among_others_are_no_commits() {
        let commits = after_commits(LIKELY);
        assert!(commits.written(true));
        assert!(!commits.written(true), "the one before was not synced");
        assert!(!after_commits(LIKELY).written(false));
        assert!((0..1000).all(|_| !after_commits(0).written(true)));
    }

    #[test]
    fn syncs_without_a_write_are_no_commits() {
        let commits = Commits::default();
        (0..=LIKELY).for_each(|_| commits.synced());
        assert!(!commits.written(true));
    }
}
