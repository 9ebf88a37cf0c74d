//! Which directory a volume's file system is mounted on, and how that directory was before it was guarded.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::paths::VolumePaths;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    pub dir: PathBuf,
    /// Permission bits to give back when the volume is deleted or moves to another directory.
    pub mode: u32,
}

impl MountRecord {
    pub fn read(paths: &VolumePaths) -> Result<Option<Self>, CatalogError> {
        let path = paths.mount_record();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| CatalogError::io("understand", &path)(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CatalogError::io("read", &path)(error)),
        }
    }

    pub fn write(&self, paths: &VolumePaths) -> Result<(), CatalogError> {
        let path = paths.mount_record();
        let json = serde_json::to_vec_pretty(self).map_err(|error| CatalogError::io("write", &path)(error.into()))?;
        fs::write(&path, json).map_err(CatalogError::io("write", &path))
    }
}
