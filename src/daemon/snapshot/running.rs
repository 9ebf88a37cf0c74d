//! The one snapshot that is being taken, and who may end it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::order::S3Order;
use crate::snapshot::{S3Access, TakingProgress};

/// One snapshot at a time.
#[derive(Default)]
pub(in crate::daemon) struct Snapshots {
    running: Mutex<Option<Running>>,
}

/// Of a snapshot that is being taken.
#[derive(Clone, Default)]
pub(in crate::daemon) struct Running {
    pub(in crate::daemon) cancelled: Arc<AtomicBool>,
    pub(in crate::daemon) progress: Arc<TakingProgress>,
    /// New ones come when the old ones expire.
    pub(in crate::daemon) s3: Arc<Mutex<Option<S3Order>>>,
    /// Set when it is over, whatever became of it.
    ended: Arc<(Mutex<bool>, std::sync::Condvar)>,
}

impl Snapshots {
    /// Until one that was given up, and still lets go of the volume, has ended.
    pub(super) fn wait_for_cancelled(&self) {
        let running = self.lock().clone();
        if let Some(running) = running.filter(|running| running.cancelled.load(Ordering::Acquire)) {
            running.wait();
        }
    }

    /// `None`: one is being taken already.
    pub(in crate::daemon) fn start(&self) -> Option<Running> {
        let mut running = self.lock();
        if running.as_ref().is_some_and(|running| !running.has_ended()) {
            return None;
        }
        Some(running.insert(Running::default()).clone())
    }

    /// Whether one is being taken.
    pub(in crate::daemon) fn is_running(&self) -> bool {
        self.lock().as_ref().is_some_and(|running| !running.has_ended())
    }

    /// Gives up the one that is being taken, and waits until it lets go of the volume.
    pub(in crate::daemon) fn cancel(&self) {
        let running = self.lock().clone();
        if let Some(running) = running {
            running.cancelled.store(true, Ordering::Release);
            running.wait();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        lock(&self.running)
    }
}

impl Running {
    fn has_ended(&self) -> bool {
        *lock(&self.ended.0)
    }

    fn wait(&self) {
        let (ended, changed) = &*self.ended;
        let mut ended = lock(ended);
        while !*ended {
            ended = changed.wait(ended).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn end_on_drop(&self) -> EndOnDrop<'_> {
        EndOnDrop(self)
    }

    /// With the latest credentials, whenever they are asked for.
    pub(super) fn s3_access(&self) -> Option<S3Access> {
        let order = lock(&self.s3).clone()?;
        let latest = Arc::clone(&self.s3);
        Some(S3Access {
            region: Some(order.region),
            endpoint: order.endpoint,
            credentials: Arc::new(move || {
                let latest = lock(&latest);
                latest.as_ref().map(|order| order.credentials.clone()).ok_or_else(|| "no credentials".to_owned())
            }),
        })
    }
}

/// Says that it is over when it is dropped, also by a panic.
pub(super) struct EndOnDrop<'a>(&'a Running);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        let (ended, changed) = &*self.0.ended;
        *lock(ended) = true;
        changed.notify_all();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
