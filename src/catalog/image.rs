//! The image of a volume that nobody serves, locked.

use super::error::CatalogError;
use super::paths::VolumePaths;
use crate::store::{FileStore, StoreError};

pub(super) fn open_unattached(paths: &VolumePaths) -> Result<FileStore, CatalogError> {
    FileStore::open(&paths.backing()).map_err(|error| match error {
        StoreError::Busy { .. } => is_attached(paths),
        error => error.into(),
    })
}

pub(super) fn is_attached(paths: &VolumePaths) -> CatalogError {
    let id = paths.id();
    CatalogError::Busy(format!("volume {id} is attached; `envol detach {id}` first"))
}
