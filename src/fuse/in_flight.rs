//! Requests whose disk is waited for: how many there are, and the buffers of those that no thread waits for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::front_end::MAX_BACKGROUND;
use crate::volume::Aligned;

/// What is longer keeps a receiver busy with copies and the cipher for longer than it takes to let it sleep and to wake it.
pub(super) const MAX_QUEUED_BYTES: usize = 128 << 10;

/// A few requests at once are answered sooner by receivers that wait themselves: the way to another thread costs more than their sleep. At a
/// deep queue that thread is awake anyway, and takes back several answers at once.
pub(super) const WAIT_THEMSELVES: usize = 4;

/// As many as the kernel has under way for a file system on the volume.
const MAX_KEPT_BUFFERS: usize = MAX_BACKGROUND as usize;

#[derive(Default)]
pub(super) struct InFlight {
    count: AtomicUsize,
    /// Of [`MAX_QUEUED_BYTES`] each.
    buffers: Mutex<Vec<Aligned>>,
}

/// One request, from its arrival until it is answered and the store has let go of it.
pub(super) struct Place {
    in_flight: Arc<InFlight>,
    others: usize,
}

impl InFlight {
    pub(super) fn enter(self: &Arc<Self>) -> Place {
        Place { in_flight: Arc::clone(self), others: self.count.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn buffer(&self) -> Aligned {
        let kept = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| Aligned::new(MAX_QUEUED_BYTES))
    }

    pub(super) fn give_back(&self, buffer: Aligned) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < MAX_KEPT_BUFFERS {
            buffers.push(buffer);
        }
    }

    /// Until all have left. Nobody enters any more.
    pub(super) fn wait_until_empty(&self) {
        while self.count.load(Ordering::Acquire) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Place {
    /// Whether so many others are under way that nobody should wait for this one.
    pub(super) fn is_crowded(&self) -> bool {
        self.others >= WAIT_THEMSELVES
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.count.fetch_sub(1, Ordering::Release);
    }
}
