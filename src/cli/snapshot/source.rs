//! A snapshot that a command reads: opened with the credentials of whoever runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::arguments::Store;
use super::store::Reach;
use crate::catalog::{Root, WrappedSnapshotKey, unwrap_snapshot_key};
use crate::cli::error::CliError;
use crate::cli::interruption::Interruption;
use crate::format::SnapshotId;
use crate::snapshot::{SnapshotReader, SnapshotStore};

pub(in crate::cli) struct Source {
    pub(in crate::cli) reader: SnapshotReader,
    pub(in crate::cli) store: Arc<SnapshotStore>,
}

impl Source {
    pub(in crate::cli) fn open(root: &Root, store: &Store, id: &SnapshotId, verb: &str) -> Result<Self, CliError> {
        let store = Reach::of(root, store)?.open_existing()?;
        let header = store.header(id).map_err(CliError::from_snapshot)?;
        let person = format!("whoever runs `envol {verb}`");
        let key = unwrap_snapshot_key(&WrappedSnapshotKey::of(&header.draft), None, None, &person)?;
        let reader = SnapshotReader::open(Arc::clone(&store), id, key).map_err(CliError::from_snapshot)?;
        Ok(Self { reader, store })
    }
}

/// Set by Ctrl-C or SIGTERM, for work that looks at it now and then.
pub(in crate::cli) fn cancelled_by_signal() -> Result<Arc<AtomicBool>, CliError> {
    let interruption = Interruption::await_one()?;
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancelled);
    thread::spawn(move || {
        if interruption.wait() {
            flag.store(true, Ordering::Release);
        }
    });
    Ok(cancelled)
}
