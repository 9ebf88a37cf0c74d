//! Another KMS key for a volume that is served: proved beside the main thread, written by it while nobody watches either key, and
//! watched from then on.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;

use tokio::sync::oneshot;

use super::attached::{Attached, Shared};
use super::control::Reply;
use super::error::DaemonError;
use super::guard::Guard;
use super::serve::Event;
use crate::catalog::{CatalogError, Rewrap, Rewrapped, WrappedKeys};

/// What only the main thread may do: it owns the header.
pub(super) struct RewrapStep {
    rewrap: Rewrap,
    done: oneshot::Sender<Written>,
}

/// What became of the header, and what is still to be done.
struct Written {
    rewrap: Rewrap,
    outcome: Result<(), NotWritten>,
}

enum NotWritten {
    /// The header is as it was.
    Untouched(CatalogError),
    /// It may name either key.
    CutShort(CatalogError),
}

/// Goes on when the command is gone: what was begun is finished.
pub(super) async fn converse(shared: &Arc<Shared>, keys: Option<WrappedKeys>, events: &Sender<Event>) -> Reply {
    let (sender, outcome) = oneshot::channel();
    let (job, events) = (Arc::clone(shared), events.clone());
    let spawned = thread::Builder::new().name("rewrap".to_owned()).spawn(move || {
        let _ = sender.send(rewrap(&job, keys, &events));
    });
    let outcome = match spawned {
        Ok(_) => outcome.await.unwrap_or_else(|_| Err(ended(shared))),
        Err(source) => Err(DaemonError::Io { action: "start a thread", source }),
    };
    match outcome {
        Ok(rewrapped) => Reply::Rewrapped(rewrapped),
        Err(error) => Reply::RewrapFailed { message: error.to_string(), exit_code: (shared.exit_code)(&error) },
    }
}

fn rewrap(shared: &Shared, keys: Option<WrappedKeys>, events: &Sender<Event>) -> Result<Rewrapped, DaemonError> {
    let id = shared.subject.paths.id();
    let Ok(_one_at_a_time) = shared.rewrapping.try_lock() else {
        return Err(CatalogError::Busy(format!("volume {id} is being moved to another key by another command")).into());
    };
    let rewrap = Rewrap::begin_attached(&shared.subject.paths, keys, shared.subject.kms_profile.as_deref())?;
    if !rewrap.moves() {
        return Ok(rewrap.finish()?);
    }
    if let Err(error) = rewrap.prove() {
        return Err(rewrap.give_up(error).into());
    }
    let (done, written) = oneshot::channel();
    let _ = events.send(Event::Rewrap(Box::new(RewrapStep { rewrap, done })));
    match written.blocking_recv() {
        Ok(Written { rewrap, outcome: Ok(()) }) => Ok(rewrap.finish()?),
        Ok(Written { rewrap, outcome: Err(NotWritten::Untouched(error)) }) => Err(rewrap.give_up(error).into()),
        Ok(Written { outcome: Err(NotWritten::CutShort(error)), .. }) => Err(error.into()),
        Err(_) => Err(ended(shared)),
    }
}

/// What is on record names both keys: the same command goes on with it.
fn ended(shared: &Shared) -> DaemonError {
    let id = shared.subject.paths.id();
    CatalogError::Busy(format!("volume {id} ended meanwhile; `envol status {id}` says why")).into()
}

impl RewrapStep {
    /// No guardian runs meanwhile, so that no verdict about the old key, and no erasing of it, can come after the new one is
    /// written.
    pub(super) fn take(self, attached: &mut Attached, guard: &mut Guard) {
        let Self { rewrap, done } = self;
        guard.pause();
        let outcome = match attached.volume.ended() {
            Some(ended) => {
                let message = format!("volume {} is not served any more: {}", attached.paths.id(), ended.reason);
                Err(NotWritten::Untouched(CatalogError::Busy(message)))
            }
            None => rewrap.apply(&mut attached.header()).map_err(|error| match error {
                CatalogError::Busy(_) => NotWritten::Untouched(error),
                error => NotWritten::CutShort(error),
            }),
        };
        if outcome.is_ok() {
            attached.follow_header();
            guard.go_by(rewrap.grant().cloned());
            tracing::info!("volume {} is under {} now", attached.paths.id(), attached.header().superblock().kms_key);
        }
        guard.watch(attached);
        // Whoever waits may be gone.
        let _ = done.send(Written { rewrap, outcome });
    }
}
