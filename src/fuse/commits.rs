//! Whoever commits writes, and asks for a sync when the write is answered; after a few commits the next sync can be foreseen.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// So many commits more than other writes make another one likely. Who does not commit so often has a sync or two made that nobody needed.
const LIKELY: u32 = 4;

/// A file system writes its journal between the commits of a database now and then; they are foreseen again soon.
const MOST: u32 = 2 * LIKELY;

/// What a write takes off that was no commit.
const OTHER: u32 = 2;

#[derive(Default)]
pub(super) struct Commits {
    /// Syncs before which there was one write, less the other writes; at most [`MOST`].
    seen: AtomicU32,
    /// A write came since the last sync.
    unsynced: AtomicBool,
}

impl Commits {
    /// A write came. Whether somebody is likely to ask for a sync next.
    pub(super) fn written(&self) -> bool {
        let seen = self.seen.load(Ordering::Relaxed);
        if self.unsynced.swap(true, Ordering::Relaxed) {
            self.seen.store(seen.saturating_sub(OTHER), Ordering::Relaxed);
            return false;
        }
        seen >= LIKELY
    }

    /// A sync was asked for.
    pub(super) fn synced(&self) {
        if self.unsynced.swap(false, Ordering::Relaxed) {
            self.seen.store(MOST.min(self.seen.load(Ordering::Relaxed) + 1), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_commits(count: u32) -> Commits {
        let commits = Commits::default();
        for _ in 0..count {
            commits.written();
            commits.synced();
        }
        commits
    }

    #[test]
    fn a_sync_is_foreseen_after_a_few_commits() {
        assert!(!after_commits(LIKELY - 1).written());
        assert!(after_commits(LIKELY).written());
    }

    #[test]
    fn writes_without_a_sync_are_no_commits() {
        let commits = after_commits(LIKELY);
        assert!(commits.written());
        assert!(!commits.written(), "the one before was not synced");
        let commits = after_commits(0);
        assert!((0..1000).all(|_| !commits.written()));
    }

    #[test]
    fn a_journal_between_commits_does_not_end_them_and_a_file_that_is_copied_does() {
        let commits = after_commits(MOST);
        commits.written();
        commits.written();
        commits.synced();
        assert!(commits.written(), "one write that was no commit");
        (0..MOST).for_each(|_| _ = commits.written());
        commits.synced();
        assert!(!commits.written());
    }

    #[test]
    fn syncs_without_a_write_are_no_commits() {
        let commits = Commits::default();
        (0..=LIKELY).for_each(|_| commits.synced());
        assert!(!commits.written());
    }
}
