//! What an attached volume has on its host, written down so that whoever comes after a daemon that is gone can find it:
//! a mount that was taken out of the tree can no longer be found by its path.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::catalog::VolumePaths;
use crate::format::VolumeId;
use crate::host::fuse_connection::FuseConnection;
use crate::host::loop_device::LoopDevice;
use crate::host::loop_use::LoopUse;
use crate::host::{DeviceNumber, ProcessName};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Footprint {
    pub(super) volume_id: VolumeId,
    /// The volume's directory.
    pub(super) dir: PathBuf,
    /// Of the image.
    pub(super) mount_point: PathBuf,
    pub(super) image: PathBuf,
    pub(super) fuse: Option<DeviceNumber>,
    pub(super) loop_device: Option<LoopUse>,
    /// What `attach` was told about the processes that use the volume.
    pub(super) keep_processes: bool,
    /// The daemon's ancestors, such as the shell that started it.
    pub(super) spared: Vec<ProcessName>,
    pub(super) on_event: Option<String>,
}

impl Footprint {
    /// As the kernel shows it now.
    pub(super) fn of(paths: &VolumePaths) -> Self {
        let devices = LoopDevice::backed_by(&paths.image()).unwrap_or_default();
        Self {
            volume_id: paths.id().clone(),
            dir: paths.dir().to_owned(),
            mount_point: paths.mount_point(),
            image: paths.image(),
            fuse: FuseConnection::at(&paths.mount_point()).ok().flatten().map(|connection| connection.device()),
            loop_device: devices.first().and_then(|device| LoopUse::of(device.device_number().ok()?)),
            keep_processes: false,
            spared: Vec::new(),
            on_event: None,
        }
    }

    /// Nothing was found on the host.
    pub(super) fn is_nothing(&self) -> bool {
        self.fuse.is_none() && self.loop_device.is_none()
    }

    /// For whoever comes after. Without it a purge finds only what the kernel still shows by its path.
    pub(super) fn write(&self, paths: &VolumePaths) {
        let written = serde_json::to_vec(self).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|json| fs::write(paths.footprint(), json)) {
            tracing::warn!("{}: {error}", paths.footprint().display());
        }
    }

    /// `None`: nothing was attached since the last boot, or it was detached.
    pub(super) fn read(paths: &VolumePaths) -> Option<Self> {
        let footprint: Self = serde_json::from_slice(&fs::read(paths.footprint()).ok()?).ok()?;
        // The same id may stand under another root.
        (footprint.dir == paths.dir()).then_some(footprint)
    }
}
