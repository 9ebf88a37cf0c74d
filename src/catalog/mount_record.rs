//! Which directory a volume's file system is mounted on, and how that directory was before it was guarded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::paths::{Root, VolumePaths, write_durably};
use crate::format::VolumeId;

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
        write_durably(&path, &json).map_err(CatalogError::io("write", &path))
    }

    /// The record of another volume that is, or was, mounted on the same directory: a new volume takes the place of a
    /// terminal one, and both share the directory's guard.
    pub fn of_another(root: &Root, paths: &VolumePaths, dir: &Path) -> Option<Self> {
        let entries = fs::read_dir(root.volumes()).ok()?;
        let others = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<VolumeId>().ok());
        others
            .filter(|id| id != paths.id())
            .filter_map(|id| Self::read(&root.volume(&id)).ok().flatten())
            .find(|record| record.dir == dir)
    }
}
