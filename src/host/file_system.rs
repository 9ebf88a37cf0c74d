//! Making a file system on a volume, and making durable what is in it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::child::{self, Answer, Task};
use super::error::{Context, HostError};
use super::loop_device::LoopDevice;
use super::tools::{THIS_PROGRAM, Tool};
use crate::format::FileSystemKind;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

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

/// Writes back what the kernel holds of the file system that is mounted at `dir`, and waits until it is durable (syncfs(2)), in a
/// process of its own.
///
/// # Errors
/// [`HostError::TimedOut`]; [`HostError::Unsupported`] with the kernel's words if some of it cannot be written.
pub fn sync(dir: &Path, deadline: Duration) -> Result<(), HostError> {
    sync_by(Path::new(THIS_PROGRAM), dir, deadline)
}

/// As [`sync`], by a copy of this program: for a process that is another one.
///
/// # Errors
/// As [`sync`].
pub fn sync_by(program: &Path, dir: &Path, deadline: Duration) -> Result<(), HostError> {
    match child::run_by(program, &Task::Sync { dir: dir.to_owned() }, deadline)? {
        Answer::Done => Ok(()),
        _ => Err(HostError::Unsupported { what: "the child answered another question".to_owned() }),
    }
}

/// In the child.
pub(super) fn sync_here(dir: &Path) -> Result<(), HostError> {
    let syncing = || format!("cannot sync the file system at {}", dir.display());
    rustix::fs::syncfs(File::open(dir).context(syncing)?).context(syncing)
}
