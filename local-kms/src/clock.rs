//! The time, injected and movable: keys are rotated and deleted by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

#[derive(Clone)]
pub struct Clock {
    unmoved: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    moved_by_ms: Arc<AtomicI64>,
}

impl Clock {
    pub fn system() -> Self {
        Self { unmoved: Arc::new(Timestamp::now), moved_by_ms: Arc::default() }
    }

    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { unmoved: Arc::new(now), moved_by_ms: Arc::default() }
    }

    /// By which keys live.
    pub(crate) fn now(&self) -> Timestamp {
        let unmoved = self.unmoved();
        unmoved.checked_add(self.moved_by()).unwrap_or(unmoved)
    }

    /// By which clients sign: theirs cannot be moved.
    pub(crate) fn unmoved(&self) -> Timestamp {
        (self.unmoved)()
    }

    /// Moves the clock on, further than it is already.
    pub(crate) fn advance(&self, by: SignedDuration) {
        self.moved_by_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }

    pub(crate) fn moved_by(&self) -> SignedDuration {
        SignedDuration::from_millis(self.moved_by_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn move_back(&self) {
        self.moved_by_ms.store(0, Ordering::SeqCst);
    }
}
