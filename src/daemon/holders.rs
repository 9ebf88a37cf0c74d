//! Processes that hold a file system which is to go: named, or ended.

use std::path::Path;
use std::time::Duration;

use super::error::DaemonError;
use crate::catalog::CatalogError;
use crate::format::VolumeId;
use crate::host::DeviceNumber;
use crate::host::processes::{Holder, end, holders_of};

/// From SIGTERM to SIGKILL: a database needs a moment to stop in good order.
const GRACE: Duration = Duration::from_secs(10);

/// From SIGKILL until they are gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Returns when no process holds the file systems of `devices`, mounted at `dir`. Busy, with the holders by name and
/// pid, when some do and `force` is not given, or when they do not end.
pub(super) fn release(id: &VolumeId, dir: &Path, devices: &[DeviceNumber], force: bool) -> Result<(), DaemonError> {
    let holders = holders_of(devices)?;
    if holders.is_empty() {
        return Ok(());
    }
    if !force {
        return Err(busy(id, dir, &holders, "Stop them, or end them with --force"));
    }
    match end(&holders, GRACE, KILL_WAIT) {
        left if left.is_empty() => Ok(()),
        left => Err(busy(id, dir, &left, "They do not end, not even by SIGKILL")),
    }
}

fn busy(id: &VolumeId, dir: &Path, holders: &[Holder], next: &str) -> DaemonError {
    let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    CatalogError::Busy(format!("volume {id} is busy: {} is held by {}. {next}", dir.display(), names.join(", "))).into()
}
