//! Why something could not be done with a snapshot, told apart by what the caller can do about it.

use std::io;
use std::sync::Arc;

use crate::format::SnapshotId;

/// Cloned where one failure ends the work of several threads.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("there is no snapshot {0} in this store; `envol snapshot list` shows those that are")]
    NoSuchSnapshot(SnapshotId),
    /// Swapped, edited, truncated, replayed or missing: nothing of it may be used.
    #[error("snapshot {snapshot} is damaged or not ours: {object}: {problem}")]
    Damaged { snapshot: String, object: String, problem: String },
    #[error("snapshot {snapshot} has format version {version}; this program reads version {}", super::FORMAT_VERSION)]
    NewerFormat { snapshot: String, version: u32 },
    /// The network, the disk, the credentials.
    #[error("cannot {action}: {}", super::s3::said(source))]
    Store { action: String, source: Arc<object_store::Error> },
    #[error(
        "no space is left in the store, to {action}. Make room: the same command then goes on with what is stored. To give that up, \
         `envol snapshot gc`"
    )]
    Full { action: String, source: Arc<object_store::Error> },
    #[error("cannot {action}: {source}")]
    Host { action: &'static str, source: Arc<io::Error> },
    /// What is copied, or copied to.
    #[error("{0}")]
    Volume(String),
    /// What was asked for cannot be; asking again will not help.
    #[error("{0}")]
    Refused(String),
    #[error("cancelled")]
    Cancelled,
}

impl SnapshotError {
    pub(super) fn store(action: impl Into<String>, source: object_store::Error) -> Self {
        let (action, source) = (action.into(), Arc::new(source));
        if is_full(&*source) { Self::Full { action, source } } else { Self::Store { action, source } }
    }

    pub(super) fn host(action: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Host { action, source: Arc::new(source.into()) }
    }

    pub(super) fn damaged(snapshot: &SnapshotId, object: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Damaged { snapshot: snapshot.to_string(), object: object.into(), problem: problem.into() }
    }
}

fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        next = error.source();
    }
    false
}
