//! An attached volume and everything that hangs on it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;

use super::companion::Companion;
use super::control::LiveStatus;
use super::error::DaemonError;
use super::footprint::Footprint;
use super::metrics::{Counters, exposition};
use super::options::AttachOptions;
use super::program::Program;
use super::report::Report;
use super::resize::Resizable;
use super::snapshot::{Snapshots, Subject};
use crate::catalog::{self, UnlockedHeader, VolumeGrant, VolumePaths};
use crate::format::{FileSystemState, RevocationPolicy};
use crate::fuse::{FuseServer, Meter};
use crate::host::ancestors;
use crate::host::loop_device::LoopDevice;
use crate::revocation::events::VolumeState;
use crate::revocation::{Probes, Revocation, Verification};
use crate::secret::{ChangeDetectionKey, LockedArea};
use crate::store::{CacheMode, Store};
use crate::volume::{Phase, Volume};

/// What is `Some` was brought up, and must be taken down in the reverse order.
pub(super) struct Attached {
    pub(super) paths: VolumePaths,
    pub(super) volume: Arc<Volume>,
    pub(super) store: Arc<dyn Store>,
    /// Locked by whoever writes it, or erases it.
    pub(super) header: Arc<Mutex<UnlockedHeader>>,
    pub(super) fuse: Option<FuseServer>,
    pub(super) device: Option<LoopDevice>,
    /// Where the file system is mounted.
    pub(super) dir: Option<PathBuf>,
    /// Where the keys lie.
    pub(super) area: Arc<LockedArea>,
    pub(super) refused: Vec<String>,
    pub(super) report: Report,
    /// What it has on the host, once it serves.
    pub(super) footprint: Footprint,
    pub(super) snapshots: Arc<Snapshots>,
    change_detection: Arc<ChangeDetectionKey>,
    /// Watches this process, from the moment that it serves.
    pub(super) companion: Option<Companion>,
    /// Why there is none, as it was logged: once, and not at each attempt to start one.
    pub(super) no_companion: Option<String>,
}

/// A volume whose key was unwrapped, before anything of it is shown.
pub(super) struct Opened {
    pub(super) volume: Arc<Volume>,
    pub(super) store: Arc<dyn Store>,
    pub(super) header: UnlockedHeader,
    pub(super) change_detection: ChangeDetectionKey,
}

/// What the tasks beside the main thread see of it.
pub(super) struct Shared {
    /// Weak, like everything here: the image's lock must go with [`Attached`], not with the last of these tasks.
    pub(super) volume: Weak<Volume>,
    pub(super) verification: Arc<Mutex<Verification>>,
    pub(super) probes: Arc<Probes>,
    meter: Arc<Meter>,
    /// The volume's directory.
    pub(super) dir: PathBuf,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) subject: Subject,
    pub(super) resizable: Arc<Resizable>,
    pub(super) exit_code: fn(&DaemonError) -> u8,
    policy: RevocationPolicy,
    /// One at a time.
    pub(super) rewrapping: Mutex<()>,
    /// Set once.
    pub(super) revocation: Mutex<Option<Revocation>>,
    status: LiveStatus,
}

impl Attached {
    pub(super) fn new(
        paths: &VolumePaths,
        opened: Opened,
        report: Report,
        area: Arc<LockedArea>,
        refused: Vec<String>,
    ) -> Self {
        let Opened { volume, store, header, change_detection } = opened;
        Self {
            paths: paths.clone(),
            volume,
            store,
            header: Arc::new(Mutex::new(header)),
            snapshots: Arc::default(),
            change_detection: Arc::new(change_detection),
            fuse: None,
            device: None,
            dir: None,
            area,
            refused,
            report,
            footprint: Footprint::of(paths),
            companion: None,
            no_companion: None,
        }
    }

    pub(super) fn header(&self) -> MutexGuard<'_, UnlockedHeader> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Durable in both copies of the header on return.
    pub(super) fn record_file_system(&self, state: FileSystemState) -> Result<(), DaemonError> {
        let updated = self.header().update(|superblock| superblock.file_system = state);
        updated.map_err(DaemonError::io("write the header"))?;
        self.follow_header();
        Ok(())
    }

    /// What is known of changed chunks is of the header as it is now.
    pub(super) fn follow_header(&self) {
        let header = self.header();
        if let Some(changes) = self.volume.changes()
            && let Err(error) = changes.follow_header(header.superblock().sequence)
        {
            tracing::warn!("the next snapshot of volume {} will read all of it: {error}", self.paths.id());
        }
    }

    /// What it has on the host by now.
    pub(super) fn note_footprint(&mut self, options: &AttachOptions) {
        self.footprint = Footprint {
            keep_processes: options.keep_processes,
            spared: ancestors(),
            on_event: options.on_event.clone(),
            ..Footprint::of(&self.paths)
        };
        self.footprint.write(&self.paths);
    }

    pub(super) fn shared(&self, options: &AttachOptions, grant: Option<&VolumeGrant>) -> Arc<Shared> {
        let text = |path: &Path| path.display().to_string();
        let resizable = Arc::new(Resizable::of(self, options.kms_profile.as_deref(), grant));
        let header = self.header();
        let superblock = header.superblock();
        Arc::new(Shared {
            exit_code: options.exit_code,
            snapshots: Arc::clone(&self.snapshots),
            resizable,
            subject: Subject {
                paths: self.paths.clone(),
                database_id: superblock.database_id.clone(),
                file_system: superblock.file_system,
                dir: self.dir.clone(),
                devices: self.device.iter().filter_map(|device| device.device_number().ok()).collect(),
                kms_profile: options.kms_profile.clone(),
                grant_token: Mutex::new(grant.map(|grant| grant.token.clone())),
                change_detection: Arc::clone(&self.change_detection),
            },
            volume: Arc::downgrade(&self.volume),
            verification: Verification::verified_now(),
            probes: Arc::default(),
            meter: self.fuse.as_ref().map(FuseServer::meter).unwrap_or_default(),
            policy: superblock.revocation_policy,
            rewrapping: Mutex::default(),
            revocation: Mutex::default(),
            dir: self.paths.dir().to_owned(),
            status: LiveStatus {
                state: "in-use".to_owned(),
                since: Timestamp::now(),
                cause: None,
                detail: None,
                pid: std::process::id(),
                mount_point: self.dir.as_deref().map(text),
                device: self.device.as_ref().map(|device| text(&device.path())),
                verified_at: None,
                unverified_s: 0,
                last_kms_error: None,
                key_memory: self.area.protection().to_string(),
                cache: if self.volume.always_waits() { CacheMode::None } else { CacheMode::Writeback },
                program: Some(Program::running()),
                refused: self.refused.clone(),
                counters: None,
            },
        })
    }
}

impl Shared {
    pub(super) fn note_revocation(&self, revocation: &Revocation) {
        *self.revocation.lock().unwrap_or_else(PoisonError::into_inner) = Some(revocation.clone());
    }

    /// Reads the disk.
    pub(super) fn exposition(&self) -> String {
        let (mut volume, live) = (catalog::summarize(&self.subject.paths), self.status());
        live.refine(&mut volume);
        exposition(&volume, Some(&live))
    }

    /// As it stands now.
    pub(super) fn status(&self) -> LiveStatus {
        let mut status = self.status.clone();
        status.counters = Some(Counters { io: self.meter.counters(), probes: self.probes.counters() });
        {
            let verification = self.verification.lock().unwrap_or_else(PoisonError::into_inner);
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
        if let Some(revocation) = &*self.revocation.lock().unwrap_or_else(PoisonError::into_inner) {
            status.cause = Some(revocation.cause.to_string());
            status.detail = Some(revocation.detail());
            status.state = match revocation.state(self.policy) {
                // Not before this process is gone.
                VolumeState::Available => VolumeState::InUse,
                state => state,
            }
            .as_str()
            .to_owned();
        }
        status
    }
}
