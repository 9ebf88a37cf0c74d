//! A sync that is begun before it is asked for.
//!
//! Whoever commits writes and asks for a sync when the write is answered: on its way here and back lies as much time as a disk takes to flush.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::VolumeError;

#[derive(Default)]
pub(super) struct SyncAhead {
    /// Writes whose bytes the store has, each counted before it is answered.
    written: AtomicU64,
    /// As many of them are durable for sure. Held while a sync ahead is under way: whoever asks meanwhile waits for its end.
    durable: Mutex<u64>,
}

impl SyncAhead {
    pub(super) fn written(&self) {
        self.written.fetch_add(1, Ordering::Release);
    }

    /// `sync` makes durable what was written before it is called. Whoever has heard the `answer` finds this under way. Where one is under way
    /// already, there is the answer only: it does not wait for a disk.
    pub(super) fn run(
        &self,
        answer: impl FnOnce(),
        sync: impl FnOnce() -> Result<(), VolumeError>,
    ) -> Result<(), VolumeError> {
        let Ok(mut durable) = self.durable.try_lock() else {
            answer();
            return Ok(());
        };
        answer();
        let written = self.written.load(Ordering::Acquire);
        sync()?;
        *durable = written;
        Ok(())
    }

    /// Whether a sync ahead has made durable all that was written before this call. Of a volume that nothing was written to nobody knows.
    pub(super) fn covers_all(&self) -> bool {
        let written = self.written.load(Ordering::Acquire);
        written > 0 && *self.durable.lock().unwrap_or_else(PoisonError::into_inner) >= written
    }
}
