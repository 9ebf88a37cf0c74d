//! Which directory a volume's file system is mounted on, and how that directory was before it was guarded.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::paths::{Root, VolumePaths};
use super::record;
use crate::format::VolumeId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRecord {
    pub dir: PathBuf,
    /// Permission bits to give back when the volume is deleted or moves to another directory.
    pub mode: u32,
}

impl MountRecord {
    pub fn read(paths: &VolumePaths) -> Result<Option<Self>, CatalogError> {
        record::read(&paths.mount_record())
    }

    pub fn write(&self, paths: &VolumePaths) -> Result<(), CatalogError> {
        record::write(&paths.mount_record(), self)
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
