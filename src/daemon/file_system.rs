//! The file system of a volume: what is to be done about it, and how it comes up at its guarded directory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::attached::Attached;
use super::error::DaemonError;
use super::options::AttachOptions;
use super::readiness::{report, warn};
use crate::catalog::{CatalogError, MountRecord, Root, UnlockedHeader, VolumePaths};
use crate::format::{FileSystemKind, FileSystemState};
use crate::host::loop_device::LoopDevice;
use crate::host::mounts::{self, Mounts};
use crate::host::tools::Tool;
use crate::host::{HostError, file_system, guard};
use crate::volume::{Scratch, Volume};

/// chown(1) of one directory.
const OWNER_DEADLINE: Duration = Duration::from_secs(30);

/// For a directory that was guarded already, and nobody knows any more how it was before.
const DEFAULT_MODE: u32 = 0o755;

/// What is to be done about the file system, decided before anything is mounted.
#[derive(Clone, Copy)]
pub(super) enum FileSystemPlan {
    ImageOnly,
    Mount(FileSystemKind),
    Make(FileSystemKind),
}

impl FileSystemPlan {
    pub(super) fn make(header: &UnlockedHeader, volume: &Volume, options: &AttachOptions) -> Result<Self, DaemonError> {
        if options.dir.is_none() {
            return Ok(Self::ImageOnly);
        }
        let id = header.superblock().volume_id.clone();
        let usage = |message: String| DaemonError::from(CatalogError::Usage(message));
        let wanted = options.file_system.unwrap_or(FileSystemKind::Ext4);
        match header.superblock().file_system {
            FileSystemState::Formatted(kind) => match options.file_system {
                Some(other) if other != kind => Err(usage(format!("volume {id} holds {kind}, not {other}"))),
                _ if options.mkfs => Err(usage(format!(
                    "volume {id} holds {kind} already; --mkfs would destroy it. To start anew, create a new volume"
                ))),
                _ => Ok(Self::Mount(kind)),
            },
            FileSystemState::Formatting(kind) if !options.mkfs => Err(usage(format!(
                "making {kind} on volume {id} was interrupted. Attach again with --mkfs to make it anew; what is on the \
                 volume is lost then"
            ))),
            FileSystemState::Blank if !options.mkfs && !volume.is_blank()? => Err(usage(format!(
                "volume {id} has no file system of envol's making, but it was written to. Attach it with --raw to look \
                 at it, or with --mkfs to make {wanted} on it, which destroys what is there"
            ))),
            FileSystemState::Formatting(_) | FileSystemState::Blank => {
                let least = file_system::minimum_size_bytes(wanted);
                if volume.size_bytes() < least {
                    let mib = least.div_ceil(1 << 20);
                    return Err(usage(format!("volume {id} is too small for {wanted}, which needs {mib} MiB")));
                }
                Ok(Self::Make(wanted))
            }
        }
    }
}

/// From the image that is shown to the file system at `dir`. Whatever is brought up is noted in `attached`, to be taken
/// down again.
pub(super) fn bring_up(
    root: &Root,
    attached: &mut Attached,
    dir: &Path,
    owner: Option<&str>,
    plan: FileSystemPlan,
) -> Result<(), DaemonError> {
    let device = LoopDevice::attach(&attached.paths.image())?;
    attached.device = Some(device.clone());
    let kind = match plan {
        FileSystemPlan::ImageOnly => return Ok(()),
        FileSystemPlan::Mount(kind) => kind,
        FileSystemPlan::Make(kind) => {
            attached.record_file_system(FileSystemState::Formatting(kind))?;
            report(&format!("making {kind}"));
            file_system::make(kind, &device, None)?;
            attached.record_file_system(FileSystemState::Formatted(kind))?;
            kind
        }
    };
    let is_made = matches!(plan, FileSystemPlan::Make(_));
    if !is_made && !file_system::grows_mounted(kind) {
        grow_if_smaller(attached, kind, || file_system::grow_unmounted(kind, &device));
    }
    report(&format!("mounting {kind} on {}", dir.display()));
    guard_dir(root, &attached.paths, dir)?;
    mounts::mount(&device, dir, kind, &[])?;
    check_place(&device, dir)?;
    attached.dir = Some(dir.to_owned());
    if !is_made && file_system::grows_mounted(kind) {
        grow_if_smaller(attached, kind, || file_system::grow(kind, &device, dir));
    }
    if let Some(owner) = owner {
        change_owner(dir, owner)?;
    }
    // From now on the loop device ends with its last user, whatever becomes of this process.
    device.clear_on_last_close()?;
    Ok(())
}

/// `dir` is without symbolic links, as it was looked at. Whoever may rename a directory above it can have put one there since, and the
/// file system is mounted where that leads.
fn check_place(device: &LoopDevice, dir: &Path) -> Result<(), DaemonError> {
    let (number, mounts) = (device.device_number()?, Mounts::read()?);
    if mounts.at(dir).is_some_and(|mount| mount.device == number) {
        return Ok(());
    }
    for elsewhere in mounts.of_device(number) {
        mounts::unmount_lazily(&elsewhere.mount_point)?;
    }
    let dir = dir.display();
    Err(HostError::Unsupported {
        what: format!(
            "{dir} was exchanged while it was mounted on; nothing is mounted now. Who may rename what is above it?"
        ),
    }
    .into())
}

/// After a resize that was interrupted or done while it was away, or of a snapshot of a smaller volume. It serves as it is, too:
/// what goes wrong is said.
fn grow_if_smaller(attached: &Attached, kind: FileSystemKind, grow: impl FnOnce() -> Result<bool, HostError>) {
    let (id, volume) = (attached.paths.id(), &attached.volume);
    if !is_smaller(volume, kind) {
        return;
    }
    report(&format!("growing {kind} to the size of the volume"));
    match grow() {
        Ok(true) => tracing::info!("volume {id}: {kind} is grown to the size of the volume"),
        Ok(false) => {}
        Err(error) => warn(&format!(
            "the {kind} on volume {id} is smaller than the volume, and is not grown: {error}. Once that is mended: `envol resize {id} {}`",
            volume.size_bytes()
        )),
    }
}

/// Whether the file system on it, as its superblocks have it in the store, is smaller than the volume, or is not grown to the end. Of
/// one that is mounted that may be out of date.
pub(super) fn is_smaller(volume: &Volume, kind: FileSystemKind) -> bool {
    let mut scratch = Scratch::default();
    let mut superblock = |offset| {
        let mut read = [0; file_system::SIZED_BY_BYTES];
        volume.read(offset, &mut read, &mut scratch).is_ok().then_some(read)
    };
    let Some(first) = superblock(0) else { return false };
    let Some(size_bytes) = file_system::size_bytes(kind, &first) else { return false };
    let mut others = file_system::last_to_be_resized(kind, &first).into_iter().filter_map(superblock);
    size_bytes < volume.size_bytes() || others.any(|other| file_system::size_bytes(kind, &other) != Some(size_bytes))
}

/// The bare directory beneath the mount: nobody may write into it while the volume is away.
fn guard_dir(root: &Root, paths: &VolumePaths, dir: &Path) -> Result<(), DaemonError> {
    let before = MountRecord::read(paths)?;
    if let Some(other) = before.as_ref().filter(|record| record.dir != dir)
        && MountRecord::of_another(root, paths, &other.dir).is_none()
    {
        // The volume moves: the directory it was on is an ordinary one again.
        let _ = guard::release(&other.dir, other.mode);
    }
    let mode = fs::metadata(dir).map_err(DaemonError::io("look at the directory to mount on"))?.mode() & 0o7777;
    let record = match before {
        _ if mode != 0 => Some(MountRecord { dir: dir.to_owned(), mode }),
        Some(record) if record.dir == dir => None,
        // Closed already: another volume, most likely a terminal one, was mounted there before.
        _ => {
            let mode = MountRecord::of_another(root, paths, dir).map_or(DEFAULT_MODE, |record| record.mode);
            Some(MountRecord { dir: dir.to_owned(), mode })
        }
    };
    // Before the guard: what is closed must be known to whoever opens it again.
    if let Some(record) = record {
        record.write(paths)?;
    }
    if !guard::guard(dir)?.immutable {
        tracing::warn!("{} cannot be made immutable on its file system: root could write into it", dir.display());
    }
    Ok(())
}

/// In a child process, as all that touches the mount.
fn change_owner(dir: &Path, owner: &str) -> Result<(), HostError> {
    Tool::new("chown", OWNER_DEADLINE)?.arg("--").arg(owner).arg(dir).run().map(drop)
}
