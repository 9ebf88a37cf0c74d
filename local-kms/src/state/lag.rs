//! Changes that travel slowly, as on AWS, where they take seconds and sometimes minutes: readers see the state as it
//! was a while ago. Old views cost nothing but the pages that changed since.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redb::ReadTransaction;

#[derive(Default)]
pub(super) struct Lag {
    /// Zero: off.
    lag_ms: AtomicU64,
    /// Views that a change replaced, and when; oldest first.
    replaced: Mutex<VecDeque<(Instant, Arc<ReadTransaction>)>>,
}

impl Lag {
    pub(super) fn set(&self, lag: Duration) {
        self.lag_ms.store(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        drop(self.replaced());
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(Ordering::SeqCst))
    }

    pub(super) fn is_on(&self) -> bool {
        !self.duration().is_zero()
    }

    /// `view` is about to be replaced by a change.
    pub(super) fn keep(&self, view: Arc<ReadTransaction>) {
        self.replaced().push_back((Instant::now(), view));
    }

    /// What was current when the lag began; `None`: nothing changed since.
    pub(super) fn view(&self) -> Option<Arc<ReadTransaction>> {
        if !self.is_on() {
            return None;
        }
        self.replaced().front().map(|(_, view)| Arc::clone(view))
    }

    /// Without those that nobody sees any more: each holds pages of the file back.
    fn replaced(&self) -> MutexGuard<'_, VecDeque<(Instant, Arc<ReadTransaction>)>> {
        let lag = self.duration();
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        while replaced.front().is_some_and(|(at, _)| at.elapsed() >= lag) {
            replaced.pop_front();
        }
        replaced
    }
}
