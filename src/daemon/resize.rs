//! Growing an attached volume while it is used: the key once more if there are new regions, then image, header, volume, and what
//! the kernel shows of it.
//!
//! In a thread of its own, which keeps nothing of the volume alive between its steps: neither a revocation nor a detach waits for
//! KMS or for a file system that grows. The command may go away; what was begun goes on.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::oneshot;

use super::attached::{Attached, Shared};
use super::control::{FileSystemOutcome, PROGRESS_INTERVAL, Reply, ResizeOutcome};
use super::error::DaemonError;
use super::file_system::is_smaller;
use super::serve::send;
use crate::catalog::{
    ATTACHER, CatalogError, UnlockedHeader, VolumeGrant, VolumePaths, extend_image, growth_of, unwrap,
};
use crate::format::{FileSystemKind, FileSystemState, Growth};
use crate::host::loop_device::LoopDevice;
use crate::host::{file_system, image_size};
use crate::secret::{LockedArea, UnwrapRequest};
use crate::store::Store;
use crate::volume::{Volume, VolumeKeys};

/// What the growth of an attached volume needs of it.
pub(super) struct Resizable {
    paths: VolumePaths,
    /// Weak: the image's lock goes with [`Attached`].
    volume: Weak<Volume>,
    store: Weak<dyn Store>,
    header: Weak<Mutex<UnlockedHeader>>,
    /// Where the keys of all regions lie.
    area: Arc<LockedArea>,
    kms_profile: Option<String>,
    /// Another one after a rewrap.
    grant: Mutex<Option<VolumeGrant>>,
    device: Option<LoopDevice>,
    /// What is mounted, and where.
    mounted: Option<(FileSystemKind, PathBuf)>,
    file_system: FileSystemState,
    /// What is being done, while something is.
    doing: Mutex<Option<&'static str>>,
}

impl Resizable {
    pub(super) fn of(attached: &Attached, kms_profile: Option<&str>, grant: Option<&VolumeGrant>) -> Self {
        let file_system = attached.header().superblock().file_system;
        let mounted = match (file_system, &attached.dir) {
            (FileSystemState::Formatted(kind), Some(dir)) => Some((kind, dir.clone())),
            _ => None,
        };
        Self {
            paths: attached.paths.clone(),
            volume: Arc::downgrade(&attached.volume),
            store: Arc::downgrade(&attached.store),
            header: Arc::downgrade(&attached.header),
            area: Arc::clone(&attached.area),
            kms_profile: kms_profile.map(str::to_owned),
            grant: Mutex::new(grant.cloned()),
            device: attached.device.clone(),
            mounted,
            file_system,
            doing: Mutex::default(),
        }
    }

    /// From now on KMS is asked by this grant.
    pub(super) fn go_by(&self, grant: Option<VolumeGrant>) {
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = grant;
    }

    /// `None`: the volume is being resized already.
    fn begin(self: &Arc<Self>) -> Option<Turn> {
        let mut doing = self.doing();
        if doing.is_some() {
            return None;
        }
        *doing = Some("looking at the volume");
        Some(Turn(Arc::clone(self)))
    }

    fn doing(&self) -> MutexGuard<'_, Option<&'static str>> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one growth that is under way; over when it is dropped, also by a panic.
struct Turn(Arc<Resizable>);

impl Drop for Turn {
    fn drop(&mut self) {
        *self.0.doing() = None;
    }
}

/// The answer to a command that asks for another size: what is being done, and what came of it. An error: nobody listens any more.
pub(super) async fn converse(shared: &Shared, size_bytes: u64, writer: &mut OwnedWriteHalf) -> io::Result<Reply> {
    let resizable = &shared.resizable;
    let Some(turn) = resizable.begin() else {
        let id = resizable.paths.id();
        return Ok(Reply::Busy { message: format!("volume {id} is being resized already; wait for that, and repeat") });
    };
    let (sender, mut outcome) = oneshot::channel();
    thread::Builder::new().name("resize".to_owned()).spawn(move || {
        let resized = turn.resize(size_bytes);
        if let Err(error) = &resized {
            tracing::error!("{error}");
        }
        // Another one may begin before this one is heard of.
        drop(turn);
        let _ = sender.send(resized);
    })?;
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    loop {
        tokio::select! {
            resized = &mut outcome => return Ok(match resized {
                Ok(Ok(outcome)) => Reply::Resized(outcome),
                Ok(Err(error)) => Reply::ResizeFailed { message: error.to_string(), exit_code: (shared.exit_code)(&error) },
                Err(_) => Reply::Failed { message: "its thread ended; the log of the daemon says more".to_owned() },
            }),
            _ = ticks.tick() => {
                let doing = (*resizable.doing()).unwrap_or_default().to_owned();
                send(writer, &Reply::Resizing { doing }).await?;
            }
        }
    }
}

impl Turn {
    fn resize(&self, size_bytes: u64) -> Result<ResizeOutcome, DaemonError> {
        let Resizable { paths, .. } = &*self.0;
        let from = self.header(|header| Ok(header.geometry()))?;
        let growth = growth_of(paths.id(), from, size_bytes)?;
        let to_grow = self.to_grow(growth.is_some())?;
        if let Some((kind, _)) = to_grow {
            file_system::check_can_grow(*kind)?;
        }
        if let Some(growth) = growth {
            self.grow(growth)?;
            tracing::info!("volume {} has {size_bytes} bytes now, after {}", paths.id(), from.size_bytes());
        }
        let file_system = self.show(size_bytes, to_grow).map_err(|source| DaemonError::HalfGrown {
            id: paths.id().clone(),
            size_bytes,
            source: Box::new(source),
        })?;
        Ok(ResizeOutcome { from_bytes: from.size_bytes(), size_bytes, file_system })
    }

    /// The file system that is mounted, if it is not as large as the volume.
    fn to_grow(&self, volume_grows: bool) -> Result<Option<&(FileSystemKind, PathBuf)>, DaemonError> {
        let volume = self.0.volume.upgrade().ok_or_else(not_served)?;
        let is_smaller = |kind| volume_grows || is_smaller(&volume, kind);
        Ok(self.0.mounted.as_ref().filter(|(kind, _)| is_smaller(*kind)))
    }

    /// From the key to a volume that serves its new end. The order is the promise: an image that is long enough, then a header that
    /// says so, then the first write behind the old end.
    fn grow(&self, growth: Growth) -> Result<(), DaemonError> {
        let keys = if growth.regions().is_empty() { VolumeKeys::none() } else { self.keys(growth)? };
        self.doing("extending the image");
        let (volume, store) = (self.0.volume.upgrade(), self.0.store.upgrade());
        let (Some(volume), Some(store)) = (volume, store) else { return Err(not_served()) };
        extend_image(&*store, &self.0.paths, growth)?;
        volume.reserve(growth).map_err(DaemonError::io("make room for the change map; the volume has its old size"))?;
        self.header(|header| {
            // Looked at under the lock that whoever ends the volume takes before the header is erased, or the image let go.
            if volume.ended().is_some() {
                return Err(not_served());
            }
            header.grow(growth).map_err(DaemonError::io("write the header; the volume has its old size"))?;
            Ok(volume.grow(growth, keys, header.superblock().sequence)?)
        })
    }

    /// Of the new regions. The volume key is back in memory for that, in an area that goes with it.
    fn keys(&self, growth: Growth) -> Result<VolumeKeys, DaemonError> {
        let Resizable { paths, area, kms_profile, .. } = &*self.0;
        let grant = self.0.grant.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.doing("asking KMS for the volume key");
        let request = self.header(|header| {
            let superblock = header.superblock();
            Ok(UnwrapRequest {
                kms_key: superblock.kms_key.clone(),
                wrapped: superblock.wrapped_volume_key.clone(),
                context: superblock.database_id.encryption_context(&superblock.volume_id),
                profile: kms_profile.clone(),
                grant_token: grant.as_ref().map(|grant| grant.token.clone()),
            })
        })?;
        let passing = LockedArea::new().map_err(CatalogError::from)?;
        let volume_key = unwrap(paths.id(), &passing, &request, grant.as_ref(), ATTACHER)?;
        let mac_key = volume_key.header_mac_key().map_err(CatalogError::from)?;
        if !self.header(|header| Ok(header.is_under(&mac_key)))? {
            let problem = "KMS unwrapped another key than the one that it is served with".to_owned();
            return Err(CatalogError::NotOurs { id: paths.id().clone(), problem }.into());
        }
        Ok(VolumeKeys::derive_new(&volume_key, growth, area).map_err(CatalogError::from)?)
    }

    /// Has everybody above see the size: the image, the loop device, the file system. Each is done where it is not yet.
    fn show(
        &self,
        size_bytes: u64,
        to_grow: Option<&(FileSystemKind, PathBuf)>,
    ) -> Result<FileSystemOutcome, DaemonError> {
        let Resizable { paths, device, mounted, file_system, .. } = &*self.0;
        self.doing("showing the new size");
        image_size::refresh(&paths.image())?;
        if let Some(device) = device {
            device.follow_size(size_bytes)?;
        }
        match (device, to_grow, file_system) {
            (_, None, _) if mounted.is_some() => Ok(FileSystemOutcome::Unchanged),
            (Some(device), Some((kind, dir)), _) => {
                self.doing("growing the file system");
                let grown = file_system::grow(*kind, device, dir)?;
                Ok(if grown { FileSystemOutcome::Grown } else { FileSystemOutcome::Unchanged })
            }
            (_, _, FileSystemState::Formatted(_)) => Ok(FileSystemOutcome::AtNextAttach),
            _ => Ok(FileSystemOutcome::None),
        }
    }

    fn header<T>(&self, look: impl FnOnce(&mut UnlockedHeader) -> Result<T, DaemonError>) -> Result<T, DaemonError> {
        let header = self.0.header.upgrade().ok_or_else(not_served)?;
        let mut header = header.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut header)
    }

    fn doing(&self, what: &'static str) {
        *self.0.doing() = Some(what);
    }
}

fn not_served() -> DaemonError {
    DaemonError::Io { action: "resize the volume", source: io::Error::other("it is not served any more") }
}
