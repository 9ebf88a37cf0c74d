//! An attached volume and everything that hangs on it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use jiff::Timestamp;

use super::control::LiveStatus;
use super::error::DaemonError;
use crate::catalog::{UnlockedHeader, VolumePaths};
use crate::format::FileSystemState;
use crate::fuse::FuseServer;
use crate::host::loop_device::LoopDevice;
use crate::revocation::{Revocation, Verification};
use crate::secret::Protection;
use crate::store::Store;
use crate::volume::{Phase, Volume};

/// What is `Some` was brought up, and must be taken down in the reverse order.
pub(super) struct Attached {
    pub(super) paths: VolumePaths,
    pub(super) volume: Arc<Volume>,
    pub(super) store: Arc<dyn Store>,
    pub(super) header: UnlockedHeader,
    pub(super) fuse: Option<FuseServer>,
    pub(super) device: Option<LoopDevice>,
    /// Where the file system is mounted.
    pub(super) dir: Option<PathBuf>,
    pub(super) protection: Protection,
    pub(super) refused: Vec<String>,
}

/// What the tasks beside the main thread see of it.
pub(super) struct Shared {
    /// Weak, like everything here: the image's lock must go with [`Attached`], not with the last of these tasks.
    pub(super) volume: Weak<Volume>,
    pub(super) verification: Arc<Mutex<Verification>>,
    /// The volume's directory.
    pub(super) dir: PathBuf,
    /// Set once.
    pub(super) revocation: Mutex<Option<Revocation>>,
    status: LiveStatus,
}

impl Attached {
    pub(super) fn new(
        paths: &VolumePaths,
        volume: Arc<Volume>,
        store: Arc<dyn Store>,
        header: UnlockedHeader,
        protection: Protection,
        refused: Vec<String>,
    ) -> Self {
        Self { paths: paths.clone(), volume, store, header, fuse: None, device: None, dir: None, protection, refused }
    }

    /// Durable in both copies of the header on return.
    pub(super) fn record_file_system(&mut self, state: FileSystemState) -> Result<(), DaemonError> {
        self.header.update(|superblock| superblock.file_system = state).map_err(DaemonError::io("write the header"))
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        let text = |path: &Path| path.display().to_string();
        Arc::new(Shared {
            volume: Arc::downgrade(&self.volume),
            verification: Verification::verified_now(),
            revocation: Mutex::default(),
            dir: self.paths.dir().to_owned(),
            status: LiveStatus {
                state: "in-use".to_owned(),
                since: Timestamp::now(),
                cause: None,
                pid: std::process::id(),
                mount_point: self.dir.as_deref().map(text),
                device: self.device.as_ref().map(|device| text(&device.path())),
                verified_at: None,
                unverified_s: 0,
                last_kms_error: None,
                key_memory: self.protection.to_string(),
                refused: self.refused.clone(),
            },
        })
    }
}

impl Shared {
    /// As it stands now.
    pub(super) fn status(&self) -> LiveStatus {
        let mut status = self.status.clone();
        {
            let verification = self.verification.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            status.verified_at = verification.verified_at;
            status.unverified_s = verification.unverified_s(Timestamp::now());
            status.last_kms_error.clone_from(&verification.last_error);
        }
        if let Some(ended) = self.volume.upgrade().and_then(|volume| volume.ended()) {
            status.state = match ended.phase {
                Phase::Terminal => "terminal",
                Phase::Failed => "error",
                Phase::Detached => "in-use",
            }
            .to_owned();
            status.since = ended.at;
            status.cause = Some(ended.reason);
        }
        if let Some(revocation) = &*self.revocation.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
            status.cause = Some(revocation.cause.to_string());
        }
        status
    }
}
