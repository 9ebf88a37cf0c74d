//! Which snapshot of a volume is its newest, and where it lies: known without asking the store.

use std::fs;
use std::io;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::paths::VolumePaths;
use super::record;
use crate::format::SnapshotId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSnapshot {
    pub snapshot_id: SnapshotId,
    /// The moment that it shows.
    pub created_at: Timestamp,
    /// As `--store` takes it.
    pub store: String,
}

impl LastSnapshot {
    /// `None`: there is none, or it was deleted.
    pub fn read(paths: &VolumePaths) -> Result<Option<Self>, CatalogError> {
        record::read(&paths.last_snapshot())
    }

    pub fn write(&self, paths: &VolumePaths) -> Result<(), CatalogError> {
        record::write(&paths.last_snapshot(), self)
    }

    /// It was deleted.
    pub fn forget(paths: &VolumePaths) -> Result<(), CatalogError> {
        let path = paths.last_snapshot();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CatalogError::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }
}
