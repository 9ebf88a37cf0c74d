//! What a snapshot needs of an attached volume, and how it is taken: the key, the base, the moment, the chunks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kms_client::GrantToken;

use super::order::SnapshotOrder;
use super::running::Running;
use crate::catalog::{ATTACHER, CatalogError, LastSnapshot, VolumePaths, WrappedSnapshotKey, unwrap_snapshot_key};
use crate::daemon::error::DaemonError;
use crate::format::{DatabaseId, FileSystemState};
use crate::host::stack::devices_on;
use crate::host::{DeviceNumber, file_system, freeze, where_lies};
use crate::secret::{ChangeDetectionKey, SealingKey};
use crate::snapshot::{
    HeaderDraft, SnapshotHeader, SnapshotKind, SnapshotReader, SnapshotStore, SnapshotWriter, StoreLocation, Taking,
    UploadOptions,
};
use crate::volume::{ChangeMap, Volume};

/// syncfs(2) writes back all that is dirty.
const SYNC_DEADLINE: Duration = Duration::from_secs(120);
const FREEZE_DEADLINE: Duration = Duration::from_secs(30);

/// What of the volume a snapshot needs, without keeping any of it alive.
pub(in crate::daemon) struct Subject {
    pub(in crate::daemon) paths: VolumePaths,
    pub(in crate::daemon) database_id: DatabaseId,
    pub(in crate::daemon) file_system: FileSystemState,
    /// Where its file system is mounted, and on which device.
    pub(in crate::daemon) dir: Option<PathBuf>,
    pub(in crate::daemon) devices: Vec<DeviceNumber>,
    pub(in crate::daemon) kms_profile: Option<String>,
    /// Another one after a rewrap.
    pub(in crate::daemon) grant_token: Mutex<Option<GrantToken>>,
    pub(in crate::daemon) change_detection: Arc<ChangeDetectionKey>,
}

impl Subject {
    /// Blocks for as long as it takes.
    pub(in crate::daemon) fn take(
        &self,
        volume: &Arc<Volume>,
        order: &SnapshotOrder,
        running: &Running,
    ) -> Result<SnapshotHeader, DaemonError> {
        let location: StoreLocation =
            order.store.parse().map_err(|error| CatalogError::Usage(format!("{}: {error}", order.store)))?;
        self.refuse_on_itself(&location)?;
        let store = SnapshotStore::open(&location, running.s3_access().as_ref(), order.bandwidth_bytes_per_s);
        let store = Arc::new(store.map_err(CatalogError::from)?);
        let draft = HeaderDraft {
            snapshot_id: order.snapshot_id.clone(),
            volume_id: self.paths.id().clone(),
            database_id: self.database_id.clone(),
            size_bytes: volume.size_bytes(),
            file_system: match self.file_system {
                FileSystemState::Formatted(kind) => Some(kind),
                FileSystemState::Blank | FileSystemState::Formatting(_) => None,
            },
            kms_key: order.kms_key.clone(),
            wrapped_key: order.wrapped_key.0.clone(),
            encryption_context: self.database_id.snapshot_context(self.paths.id(), &order.snapshot_id),
            kind: SnapshotKind::Volume,
            source_snapshot_id: None,
            created_at: Timestamp::now(),
            frozen: false,
        };
        let key = self.unwrap(&WrappedSnapshotKey::of(&draft))?;
        let base = self.base(&store, volume)?;
        let options = UploadOptions {
            compress: order.compress,
            uploader: order.uploader.clone(),
            cancelled: Arc::clone(&running.cancelled),
        };
        let writer = SnapshotWriter::begin(Arc::clone(&store), draft, key, base, options);
        let writer = writer.map_err(CatalogError::from)?;
        let taking = Taking {
            volume,
            change_detection: &self.change_detection,
            spill_dir: self.paths.dir(),
            spill_limit_bytes: order.spill_limit_bytes,
            progress: &running.progress,
            cancelled: &running.cancelled,
        };
        let header = self.take_at_rest(taking, writer, order.freeze)?;
        let last = LastSnapshot {
            snapshot_id: header.id().clone(),
            created_at: header.draft.created_at,
            store: location.to_string(),
        };
        if let Err(error) = last.write(&self.paths) {
            tracing::warn!("{error}");
        }
        Ok(header)
    }

    /// What the file system has in memory is written first: syncfs, or a freeze that lasts until the barrier.
    fn take_at_rest(
        &self,
        taking: Taking<'_>,
        writer: SnapshotWriter,
        freeze: bool,
    ) -> Result<SnapshotHeader, DaemonError> {
        let taken = match &self.dir {
            Some(dir) if freeze => {
                let mut frozen = Some(freeze::freeze(dir, FREEZE_DEADLINE)?);
                let thaw = || match frozen.take().map(freeze::Frozen::thaw) {
                    Some(Ok(held)) => held,
                    Some(Err(error)) => {
                        tracing::error!("{}: {error}", dir.display());
                        false
                    }
                    None => false,
                };
                taking.take(writer, thaw)
            }
            Some(dir) => {
                file_system::sync(dir, SYNC_DEADLINE)?;
                taking.take(writer, || false)
            }
            None => taking.take(writer, || false),
        };
        Ok(taken.map_err(CatalogError::from)?)
    }

    /// The newest snapshot that changes are known against, or that can be compared with; none where KMS does not open any.
    fn base(&self, store: &Arc<SnapshotStore>, volume: &Volume) -> Result<Option<SnapshotReader>, DaemonError> {
        let mut ours = store.headers().map_err(CatalogError::from)?.headers;
        ours.retain(|header| header.draft.volume_id == *self.paths.id() && header.draft.kind == SnapshotKind::Volume);
        let known = volume.changes().and_then(ChangeMap::base);
        let header = known.and_then(|base| ours.iter().find(|header| *header.id() == base)).or(ours.last());
        let Some(header) = header else { return Ok(None) };
        let opened = self.unwrap(&WrappedSnapshotKey::of(&header.draft)).map_err(|error| error.to_string());
        let opened = opened.and_then(|key| {
            SnapshotReader::open(Arc::clone(store), header.id(), key).map_err(|error| error.to_string())
        });
        match opened {
            Ok(reader) => Ok(Some(reader)),
            Err(error) => {
                tracing::warn!("snapshot {} cannot be built upon, so this one is full: {error}", header.id());
                Ok(None)
            }
        }
    }

    fn unwrap(&self, key: &WrappedSnapshotKey) -> Result<SealingKey, DaemonError> {
        let token = self.grant_token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(unwrap_snapshot_key(key, self.kms_profile.as_deref(), token, ATTACHER)?)
    }

    /// Storing a snapshot would change the volume, and the old chunks would be copied into what they are copied from.
    fn refuse_on_itself(&self, location: &StoreLocation) -> Result<(), DaemonError> {
        let devices = devices_on(&self.devices);
        let on_it = |path: &Path| where_lies(path, &devices).is_some_and(|device| devices.contains(&device));
        let problem = match location.directory() {
            Some(dir) if on_it(dir) => format!("the store {}", dir.display()),
            _ if on_it(self.paths.dir()) => format!("the directory {} for its spill", self.paths.dir().display()),
            _ => return Ok(()),
        };
        let message = format!("{problem} lies on volume {} itself; choose another place", self.paths.id());
        Err(CatalogError::Usage(message).into())
    }
}
