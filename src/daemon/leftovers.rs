//! What a daemon that was killed leaves: a dead FUSE mount, a loop device on its image, a file system on that, and
//! processes that still hold files there. The next attach clears it before anything else.

use std::time::Duration;

use super::control::{self, Command, Reply};
use super::error::DaemonError;
use super::holders;
use crate::catalog::VolumePaths;
use crate::host::fuse_connection::FuseConnection;
use crate::host::loop_device::LoopDevice;
use crate::host::mounts::{self, Mounts};

const LOOP_DEADLINE: Duration = Duration::from_secs(10);

/// Call with the image locked: whoever served it is gone. Busy when processes still hold the dead file system and
/// `force` is not given.
pub(super) fn clear(paths: &VolumePaths, force: bool) -> Result<(), DaemonError> {
    let connection = FuseConnection::at(&paths.mount_point())?;
    let devices = LoopDevice::backed_by(&paths.image())?;
    if connection.is_none() && devices.is_empty() {
        return Ok(());
    }
    tracing::warn!("volume {}: clearing what a daemon that was killed left mounted", paths.id());
    // First, so that nothing below waits for a daemon that is gone.
    if let Some(connection) = &connection {
        connection.abort()?;
    }
    for device in &devices {
        clear_file_systems(paths, device, force)?;
        device.clear()?;
        device.wait_until_gone(LOOP_DEADLINE)?;
    }
    if let Some(connection) = &connection {
        connection.unmount()?;
    }
    Ok(())
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
    match control::ask(&paths.control_socket(), Command::Status) {
        Ok(Reply::Status(status)) => {
            format!("volume {id} is attached already, by pid {}; `envol detach {id}` ends that", status.pid)
        }
        _ => format!("volume {id} is in use by another process: its image is locked"),
    }
}
