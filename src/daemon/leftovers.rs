//! What a daemon that was killed leaves: a dead FUSE mount, a loop device on its image, a file system on that, and
//! processes that still hold files there. The next attach clears it before anything else.

use super::control::{self, Command, ControlError, Reply};
use super::error::DaemonError;
use super::holders;
use crate::catalog::{CatalogError, VolumePaths};
use crate::host::fuse_connection::FuseConnection;
use crate::host::loop_device::LoopDevice;
use crate::host::mounts::{self, Mounts};
use crate::store::{FileStore, StoreError};

/// Clears what a killed daemon left of a volume that nobody serves; whether there was anything. Busy when the volume is
/// served, or when processes still hold the dead file system and `force` is not given.
pub fn clear_leftovers(paths: &VolumePaths, force: bool) -> Result<bool, DaemonError> {
    let _lock = match FileStore::open(&paths.backing()) {
        Err(StoreError::Busy { .. }) => return Err(CatalogError::Busy(who_is_attached(paths)).into()),
        // Without an image there is nobody who serves it.
        opened => opened.ok(),
    };
    clear(paths, force)
}

/// Call with the image locked: whoever served it is gone.
pub(super) fn clear(paths: &VolumePaths, force: bool) -> Result<bool, DaemonError> {
    let connection = FuseConnection::at(&paths.mount_point())?;
    let devices = LoopDevice::backed_by(&paths.image())?;
    if connection.is_none() && devices.is_empty() {
        return Ok(false);
    }
    // The image is locked, so a daemon that answers serves another one: it is alive, and nothing here is left over.
    match control::ask(paths, Command::Status) {
        Err(ControlError::NotAttached) => {}
        Err(error) => return Err(CatalogError::Busy(error.to_string()).into()),
        Ok(_) => return Err(CatalogError::Busy(who_is_attached(paths)).into()),
    }
    tracing::warn!("volume {}: clearing what a daemon that was killed left mounted", paths.id());
    // First, so that nothing below waits for a daemon that is gone.
    if let Some(Err(error)) = connection.as_ref().map(FuseConnection::abort) {
        // Without root the control file system may be out of reach. The daemon is gone, so the connection is dead.
        tracing::warn!("{error}");
    }
    for device in &devices {
        clear_file_systems(paths, device, force)?;
        holders::clear_device(paths.id(), device)?;
    }
    if let Some(connection) = &connection {
        connection.unmount()?;
    }
    Ok(true)
}

fn clear_file_systems(paths: &VolumePaths, device: &LoopDevice, force: bool) -> Result<(), DaemonError> {
    let number = device.device_number()?;
    for mount in Mounts::read()?.of_device(number) {
        holders::release(paths.id(), &mount.mount_point, &[number], force)?;
        mounts::unmount(&mount.mount_point)?;
    }
    Ok(())
}

/// Why the image's lock could not be had.
pub(super) fn who_is_attached(paths: &VolumePaths) -> String {
    let id = paths.id();
    match control::ask(paths, Command::Status) {
        Ok(Reply::Status(status)) => {
            format!("volume {id} is attached already, by pid {}; `envol detach {id}` ends that", status.pid)
        }
        _ => format!("volume {id} is in use by another process: its image is locked"),
    }
}
