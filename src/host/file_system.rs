//! File systems on a volume: making one, and shutting one down.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::error::{Context, HostError};
use super::loop_device::LoopDevice;
use super::mounts::{Mount, Mounts, mount_of};
use super::tools::Tool;
use super::{DeviceNumber, ioctl};
use crate::format::FileSystemKind;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// `argv[0]` under which this program shuts a file system down.
const SHUTDOWN_HELPER: &str = "envol-shutdown-fs";

/// Below this there is no such file system, or none that survives a crash.
#[must_use]
pub const fn minimum_size_bytes(kind: FileSystemKind) -> u64 {
    match kind {
        // mkfs.ext4 (e2fsprogs 1.47) leaves the journal out of anything smaller.
        FileSystemKind::Ext4 => 8 * MIB,
        // mkfs.xfs refuses less since xfsprogs 5.19.
        FileSystemKind::Xfs => 300 * MIB,
    }
}

/// Makes a file system. It overwrites whatever is there: the caller knows that there is nothing.
///
/// Nothing is discarded first: the ranges of a volume that were never written are holes already.
///
/// # Errors
/// [`HostError::Unsupported`] if the device is too small, [`HostError::Missing`], [`HostError::Failed`], [`HostError::TimedOut`].
pub fn make(kind: FileSystemKind, device: &LoopDevice, label: Option<&str>) -> Result<(), HostError> {
    let size_bytes = device.size_bytes()?;
    if size_bytes < minimum_size_bytes(kind) {
        let (needed_mib, size_mib) = (minimum_size_bytes(kind) / MIB, size_bytes / MIB);
        return Err(HostError::Unsupported {
            what: format!("{kind} needs {needed_mib} MiB, the volume has {size_mib} MiB"),
        });
    }
    // At most a journal of 2 GiB, and metadata that grows with the size, on a store that may do no more than 20 MB/s.
    let deadline = Duration::from_secs(120 + size_bytes / (16 * GIB));
    let (program, options): (_, &[&str]) = match kind {
        FileSystemKind::Ext4 => ("mkfs.ext4", &["-q", "-F", "-b", "4096", "-E", "nodiscard"]),
        FileSystemKind::Xfs => ("mkfs.xfs", &["-q", "-f", "-K", "-s", "size=4096"]),
    };
    let label = label.map(|label| ["-L", label]);
    let tool = Tool::new(program, deadline)?.args(options).args(label.iter().flatten());
    tool.arg(device.path()).run().map(drop)
}

/// Shuts a mounted file system down: nothing is written any more, also not what is dirty, and every read, write and open
/// fails. What is mapped into a process stays readable there until the process is gone.
///
/// # Errors
/// [`HostError::Failed`] if the file system is not mounted there any more, or is an XFS that is shut down already (it cannot be opened); [`HostError::TimedOut`] if its store does not answer.
pub fn shut_down(mount: &Mount, deadline: Duration) -> Result<(), HostError> {
    let tool = Tool::this_program(SHUTDOWN_HELPER, deadline);
    tool.arg(&mount.mount_point).arg(mount.device.to_string()).run().map(drop)
}

/// Whether this program was started as the helper of [`shut_down`].
#[must_use]
pub fn is_shutdown_helper(argv0: &std::ffi::OsStr) -> bool {
    argv0 == SHUTDOWN_HELPER
}

/// The helper: `DIR MAJOR:MINOR`, without `argv[0]`. It does the ioctl where a wait harms nobody.
#[must_use]
pub fn run_shutdown_helper(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = match args.as_slice() {
        [dir, device] => {
            device.to_str().and_then(|device| device.parse().ok()).map(|device| (PathBuf::from(dir), device))
        }
        _ => None,
    };
    let Some((dir, device)) = parsed else {
        eprintln!("usage: {SHUTDOWN_HELPER} DIR MAJOR:MINOR");
        return ExitCode::from(2);
    };
    match shut_down_here(&dir, device) {
        Ok(()) => ExitCode::SUCCESS,
        Err(HostError::Io { context, source }) => {
            eprintln!("{context}: {source}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes sure first that it is this file system. If it is unmounted already, the directory is on the host's own.
fn shut_down_here(dir: &Path, device: DeviceNumber) -> Result<(), HostError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, dir, flags, Mode::empty()).context(|| format!("cannot open {}", dir.display()))?;
    let mounts = Mounts::read()?;
    let mount = mount_of(&opened)?.and_then(|id| mounts.with_id(id));
    if mount.is_none_or(|mount| mount.device != device) {
        return Err(HostError::Unsupported { what: format!("{} is not on the file system {device}", dir.display()) });
    }
    ioctl::shut_down_without_flush(&opened).context(|| format!("cannot shut down the file system at {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_recognised_by_its_name_alone() {
        assert!(is_shutdown_helper("envol-shutdown-fs".as_ref()));
        assert!(!is_shutdown_helper("envol".as_ref()));
    }
}
