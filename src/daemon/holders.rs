//! Processes that hold a file system which is to go: named, or ended.

use std::path::Path;
use std::time::Duration;

use super::error::DaemonError;
use crate::catalog::CatalogError;
use crate::format::VolumeId;
use crate::host::ending::end;
use crate::host::loop_device::LoopDevice;
use crate::host::processes::{Holder, holders_of, seers_of};
use crate::host::{DeviceNumber, HostError};

/// From SIGTERM to SIGKILL: a database needs a moment to stop in good order.
const GRACE: Duration = Duration::from_secs(10);

/// From SIGKILL until they are gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// From the unmount of the file system to the end of the loop device.
const LOOP_DEADLINE: Duration = Duration::from_secs(10);

/// Returns when no process holds the file systems of `devices`, mounted at `dir`. Busy, with the holders by name and
/// pid, when some do and `force` is not given, or when they do not end.
pub(super) fn release(id: &VolumeId, dir: &Path, devices: &[DeviceNumber], force: bool) -> Result<(), DaemonError> {
    let holders = holders_of(devices)?;
    if holders.is_empty() {
        return Ok(());
    }
    let held = format_args!("{} is held by", dir.display());
    if !force {
        return Err(busy(id, held, &holders, "Stop them, or end them with --force"));
    }
    match end(&holders, GRACE, KILL_WAIT) {
        left if left.is_empty() => Ok(()),
        left => Err(busy(id, held, &left, "They do not end, not even by SIGKILL")),
    }
}

/// Returns when `device`, whose file system is unmounted here, is gone. Busy when it stays, with the processes in whose mount
/// namespace the file system is still mounted: one that was made before the unmount has a mount of its own.
pub(super) fn clear_device(id: &VolumeId, device: &LoopDevice) -> Result<(), DaemonError> {
    let number = device.device_number()?;
    device.clear()?;
    match device.wait_until_gone(LOOP_DEADLINE) {
        Err(HostError::Busy { .. }) => {}
        result => return Ok(result?),
    }
    let (path, seers) = (device.path(), seers_of(&[number])?);
    let next = "Unmount its file system there (nsenter --mount --target PID), or stop them, and try again";
    if seers.is_empty() {
        return Err(
            CatalogError::Busy(format!("volume {id} is busy: something still has {} open", path.display())).into()
        );
    }
    Err(busy(id, format_args!("{} is still mounted in the mount namespace of", path.display()), &seers, next))
}

fn busy(id: &VolumeId, what: std::fmt::Arguments<'_>, holders: &[Holder], next: &str) -> DaemonError {
    let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    CatalogError::Busy(format!("volume {id} is busy: {what} {}. {next}", names.join(", "))).into()
}
