//! A restore that is under way or was interrupted: its directory, which is not listed, and the record by which the same
//! command goes on.
//!
//! The record is the first thing in the directory, so that whatever a killed command leaves has a name, a grant that is
//! known, and a way on or back.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::binding::Binding;
use super::create::{Backing, CreateRequest};
use super::delete::delete;
use super::error::CatalogError;
use super::grant::StandingGrant;
use super::paths::{Root, VolumePaths, private_dir_all, sync_dir};
use super::record;
use super::wrapping::WrappedKeys;
use crate::format::{SnapshotId, VolumeId};

const STAGING_PREFIX: &str = ".restoring-";
/// Of a plain `create`.
const CREATING_PREFIX: &str = ".creating-";
const RECORD_NAME: &str = "restore.json";

/// What has to be the same for a command to be a repeat of an earlier one.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    snapshot: SnapshotId,
    database_kind: String,
    database: String,
    size_bytes: u64,
    kms_key: String,
    grantee: Option<String>,
    on_revocation: String,
    backing: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
pub struct Restoration {
    pub(super) volume: VolumeId,
    asked: Asked,
    pub(super) keys: WrappedKeys,
    backing_is_new: bool,
    /// Leaves before this one are durable.
    pub(super) next_leaf: u64,
    pub(super) done_bytes: u64,
}

/// The directory of a restore, held by one command alone.
pub(super) struct Staging {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Staging {
    /// A new one, with its record. No earlier command has left one of this name.
    pub(super) fn begin(root: &Root, restoration: &Restoration) -> Result<Self, CatalogError> {
        let id = &restoration.volume;
        let path = root.volumes().join(format!("{STAGING_PREFIX}{id}"));
        private_dir_all(&path).map_err(CatalogError::io("make", &path))?;
        let staging = Self::hold(path, id)?;
        // The grant is found here by whoever gives the restore up.
        let binding = Binding::to(restoration.keys.kms_key.clone(), 1, restoration.keys.grant.clone());
        binding.write(&staging.path)?;
        staging.write(restoration)?;
        sync_dir(&root.volumes()).map_err(CatalogError::io("sync", &root.volumes()))?;
        Ok(staging)
    }

    fn hold(path: PathBuf, id: &VolumeId) -> Result<Self, CatalogError> {
        let lock = File::open(&path).map_err(CatalogError::io("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(busy(id)),
            Err(error) => Err(CatalogError::io("lock", &path)(error.into())),
        }
    }

    pub(super) fn write(&self, restoration: &Restoration) -> Result<(), CatalogError> {
        record::write(&self.path.join(RECORD_NAME), restoration)
    }

    /// In the directory of a volume that is listed it says nothing any more.
    pub(super) fn remove_record(directory: &Path) {
        let _ = fs::remove_file(directory.join(RECORD_NAME));
    }

    /// Removes it, and the image that was made for it.
    pub(super) fn clear(&self, backing: &Backing) {
        // Best effort: the error that brought us here says more.
        if let Backing::New(path) = backing {
            let _ = fs::remove_file(path);
        }
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What an interrupted command of the same words has left: under `id`, if one was asked for. One that another command
/// works on is not looked at, unless it has that id.
pub(super) fn find_interrupted(
    root: &Root,
    asked: &Asked,
    id: Option<&VolumeId>,
) -> Result<Option<(Staging, Restoration)>, CatalogError> {
    let Ok(entries) = fs::read_dir(root.volumes()) else { return Ok(None) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_prefix(STAGING_PREFIX)?.parse::<VolumeId>().ok());
        let Some(of) = of.filter(|of| id.is_none_or(|id| id == of)) else { continue };
        let staging = match Staging::hold(entry.path(), &of) {
            Ok(staging) => staging,
            Err(CatalogError::Busy(_)) if id.is_none() => continue,
            // It was finished or given up meanwhile.
            Err(CatalogError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let found: Option<Restoration> = record::read(&staging.path.join(RECORD_NAME)).unwrap_or_default();
        match found {
            Some(found) if found.asked == *asked => return Ok(Some((staging, found))),
            Some(found) if id.is_some() => {
                return Err(CatalogError::Usage(format!(
                    "volume {of} was being restored from snapshot {}, in other words than these, and is not whole. Go on with \
                     that command, or remove what it left: envol delete {of}",
                    found.asked.snapshot
                )));
            }
            Some(_) => {}
            // Cut short before there was anything to go on from.
            None if is_bare(&staging.path) => {
                for standing in delete(root, &root.volume_in(&of, &format!("{STAGING_PREFIX}{of}")))? {
                    tracing::warn!("{standing}");
                }
            }
            None => {}
        }
    }
    Ok(None)
}

fn is_bare(staging: &Path) -> bool {
    !staging.join(RECORD_NAME).exists() && fs::symlink_metadata(staging.join("backing")).is_err()
}

/// A volume that is not listed, because the command that makes it was interrupted or is still at it.
pub fn unfinished(root: &Root, id: &VolumeId) -> Option<VolumePaths> {
    [STAGING_PREFIX, CREATING_PREFIX]
        .map(|prefix| root.volume_in(id, &format!("{prefix}{id}")))
        .into_iter()
        .find(|paths| paths.dir().is_dir())
}

/// As a volume that was finished: what it holds of an image, and its grant, go too.
pub fn delete_unfinished(root: &Root, paths: &VolumePaths) -> Result<Vec<StandingGrant>, CatalogError> {
    let id = paths.id();
    let _staging = Staging::hold(paths.dir().to_owned(), id)?;
    delete(root, paths).map_err(|error| match error {
        CatalogError::Busy(_) => busy(id),
        error => error,
    })
}

fn busy(id: &VolumeId) -> CatalogError {
    CatalogError::Busy(format!("volume {id} is being made by another command"))
}

impl Restoration {
    pub(super) fn new(request: &CreateRequest, asked: Asked, keys: WrappedKeys, backing: &Backing) -> Self {
        Self {
            volume: request.id.clone(),
            asked,
            keys,
            backing_is_new: !matches!(backing, Backing::Existing(_)),
            next_leaf: 0,
            done_bytes: 0,
        }
    }

    pub(super) fn backing(&self) -> Backing {
        match &self.asked.backing {
            None => Backing::Own,
            Some(path) if self.backing_is_new => Backing::New(path.clone()),
            Some(path) => Backing::Existing(path.clone()),
        }
    }
}

impl Asked {
    pub(super) fn of(request: &CreateRequest, snapshot: &SnapshotId) -> Self {
        Self {
            snapshot: snapshot.clone(),
            database_kind: request.database_id.context_key().to_owned(),
            database: request.database_id.name().to_string(),
            size_bytes: request.geometry.size_bytes(),
            kms_key: request.kms_key.0.clone(),
            grantee: request.grantee.as_ref().map(ToString::to_string),
            on_revocation: request.on_revocation.to_string(),
            backing: request.backing.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        }
    }
}
