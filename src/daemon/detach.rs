//! The order out: file system, loop device, image, header. Each step runs with a deadline in a child process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::attached::Attached;
use super::error::DaemonError;
use super::holders;
use crate::catalog::VolumePaths;
use crate::host::fuse_connection::FuseConnection;
use crate::host::loop_device::LoopDevice;
use crate::host::mounts::{self, Mounts};
use crate::host::{DeviceNumber, HostError};
use crate::volume::{Ended, Phase};

/// From the unmount of the image to the end of its last request.
const FUSE_DEADLINE: Duration = Duration::from_secs(5);

impl Attached {
    /// In good order or not at all: while somebody uses the file system or the image, nothing changes. After an error
    /// that is not [`DaemonError::is_busy`] the volume is down as well, only not in good order.
    pub(super) fn detach(&mut self, force: bool) -> Result<(), DaemonError> {
        // Whoever has the image open, beside the loop device, would lose what they write from now on.
        self.release(&self.paths.mount_point(), force)?;
        if let Some(dir) = self.dir.clone() {
            // Somebody, such as systemd when the host goes down, may have unmounted it already, or just now.
            if self.is_mounted_at(&dir)? {
                if force {
                    self.release(&dir, true)?;
                }
                if let Err(error) = mounts::unmount(&dir)
                    && self.is_mounted_at(&dir)?
                {
                    self.release(&dir, false)?;
                    return Err(error.into());
                }
            }
            self.dir = None;
        }
        if let Some(device) = &self.device {
            // While it is there somebody may still write to it.
            holders::clear_device(self.paths.id(), device)?;
            self.device = None;
        }
        self.tear_down();
        match self.volume.ended() {
            Some(Ended { phase: Phase::Detached, .. }) | None => Ok(()),
            Some(Ended { phase: Phase::Terminal, reason, .. }) => {
                let id = self.paths.id();
                Err(DaemonError::BecameTerminal(format!("volume {id} became terminal while it was detached: {reason}")))
            }
            Some(ended) => Err(DaemonError::Lost { id: self.paths.id().clone(), reason: ended.reason }),
        }
    }

    /// Whether what is seen at `dir` is this volume's file system.
    fn is_mounted_at(&self, dir: &Path) -> Result<bool, DaemonError> {
        let device = self.device.as_ref().map(LoopDevice::device_number).transpose()?;
        Ok(Mounts::read()?.at(dir).is_some_and(|mount| Some(mount.device) == device))
    }

    /// Makes sure that no process holds the file system mounted at `dir`; ends them, with `force`.
    fn release(&self, dir: &Path, force: bool) -> Result<(), DaemonError> {
        let device: Option<DeviceNumber> = Mounts::read()?.at(dir).map(|mount| mount.device);
        match device {
            Some(device) => holders::release(self.paths.id(), dir, &[device], force),
            None => Ok(()),
        }
    }

    /// Takes down whatever is up, as far as it goes: the end of a detach, after a failed attach, or when somebody took
    /// the mount of the image away.
    pub(super) fn tear_down(&mut self) {
        self.snapshots.cancel();
        let warn = |result: Result<(), HostError>| {
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
        };
        if let Some(dir) = self.dir.take() {
            warn(mounts::unmount(&dir).or_else(|_| mounts::unmount_lazily(&dir)));
        }
        if let Some(device) = self.device.take() {
            warn(device.clear());
        }
        self.unmount_image();
        // After the last request: the allocation map must know every write that was answered. A volume that ended
        // otherwise keeps that reason.
        if let Err(error) = self.volume.sync() {
            tracing::error!("volume {}: {error}", self.paths.id());
        }
        self.close_changes();
        let reason = "it is not attached".to_owned();
        // Whoever writes the header is done by then, or finds that the volume has ended.
        let writer = self.header();
        self.volume.end(Ended { phase: Phase::Detached, reason, at: Timestamp::now() });
        drop(writer);
        forget_runtime_files(&self.paths);
        if let Some(companion) = self.companion.take() {
            companion.dismiss();
        }
    }

    /// After the last write: from then on it is believed after a reboot, too.
    fn close_changes(&self) {
        if let Some(changes) = self.volume.changes()
            && let Err(error) = changes.close()
        {
            tracing::warn!("the next snapshot of volume {} will read all of it: {error}", self.paths.id());
        }
    }

    /// Lazily, so that it works while somebody still has the image open; who has, gets errors from then on.
    pub(super) fn unmount_image(&mut self) {
        let Some(server) = self.fuse.take() else { return };
        let warn = |result: Result<(), HostError>| {
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
        };
        match FuseConnection::at(&self.paths.mount_point()) {
            Ok(Some(connection)) => {
                warn(connection.unmount());
                if !server.ends_within(FUSE_DEADLINE) {
                    warn(connection.abort());
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("{error}"),
        }
        if server.ends_within(FUSE_DEADLINE)
            && let Err(error) = server.join()
        {
            tracing::warn!("the front-end ended with an error: {error}");
        }
    }

    /// Whether it still serves: its front-end is there.
    pub(super) fn is_up(&self) -> bool {
        self.fuse.is_some()
    }

    /// Whether somebody unmounted the file system, everywhere: the loop device beneath ends with its last user.
    pub(super) fn file_system_is_gone(&self) -> bool {
        self.dir.is_some() && self.device.as_ref().is_some_and(|device| !device.is_attached())
    }

    pub(super) fn mount_is_gone(&self) -> bool {
        self.fuse.as_ref().is_some_and(crate::fuse::FuseServer::has_ended)
    }
}

/// Only names: the next attach makes them anew.
pub(super) fn forget_runtime_files(paths: &VolumePaths) {
    let _ = fs::remove_file(paths.footprint());
    let _ = fs::remove_file(paths.control_socket());
    let _ = fs::remove_file(paths.attach_link());
    let _ = fs::remove_dir(paths.mount_point());
}
