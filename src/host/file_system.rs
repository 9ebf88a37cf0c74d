//! Making a file system on a volume, growing it, and making durable what is in it.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use super::child::{self, Answer, Task};
use super::error::{Context, HostError};
use super::ioctl::{self, XfsGrowth};
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

/// Whether this process may grow such a file system while it is mounted.
#[must_use]
pub fn grows_mounted(kind: FileSystemKind) -> bool {
    // ext4_resize_begin() in fs/ext4/resize.c asks for it, and containers often lack it; xfs wants CAP_SYS_ADMIN, as a mount does.
    kind == FileSystemKind::Xfs || has_capability(CAP_SYS_RESOURCE)
}

/// Of linux/capability.h.
const CAP_SYS_RESOURCE: u32 = 24;

fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|bits| bits >> number & 1 == 1)
}

/// Whether [`grow`] has what it takes.
///
/// # Errors
/// [`HostError::Missing`], [`HostError::Unsupported`].
pub fn check_can_grow(kind: FileSystemKind) -> Result<(), HostError> {
    if kind == FileSystemKind::Ext4 {
        Tool::new(EXT4_GROWER, Duration::ZERO)?;
    }
    if grows_mounted(kind) {
        return Ok(());
    }
    let what = format!(
        "the kernel grows a mounted {kind} for a process with CAP_SYS_RESOURCE alone, and this one lacks it. Detach the volume, resize it, and \
         attach it again: then the {kind} is grown before it is mounted"
    );
    Err(HostError::Unsupported { what })
}

/// Grows the file system that is mounted at `dir` to the size of its device, while it is used. Whether it became larger.
///
/// # Errors
/// [`HostError::Missing`], [`HostError::Failed`], [`HostError::TimedOut`]; [`HostError::Unsupported`] with the kernel's words. Cut
/// short, it is a file system of some size in between.
pub fn grow(kind: FileSystemKind, device: &LoopDevice, dir: &Path) -> Result<bool, HostError> {
    let deadline = growing_deadline(device)?;
    match kind {
        FileSystemKind::Ext4 => grow_ext4(device, deadline),
        // Not by xfs_growfs(8), which leaves an xfs of the right size alone, also where its other superblocks say another one.
        FileSystemKind::Xfs => {
            let task = Task::GrowXfs { dir: dir.to_owned(), size_bytes: device.size_bytes()? };
            match child::run(&task, deadline)? {
                Answer::Grown(grown) => Ok(grown),
                _ => Err(child::another_question()),
            }
        }
    }
}

/// In the child.
pub(super) fn grow_xfs_here(dir: &Path, size_bytes: u64) -> Result<bool, HostError> {
    let growing = || format!("cannot grow the xfs at {}", dir.display());
    let place = File::open(dir).context(growing)?;
    let before = ioctl::xfs_geometry(&place).context(growing)?;
    let block_count = (size_bytes / u64::from(before.block_size_bytes)).max(before.block_count);
    ioctl::grow_xfs(&place, XfsGrowth { block_count, inode_percent: before.inode_percent }).context(growing)?;
    let after = ioctl::xfs_geometry(&place).context(growing)?;
    Ok(after.block_count > before.block_count)
}

fn grow_ext4(device: &LoopDevice, deadline: Duration) -> Result<bool, HostError> {
    let grown = Tool::new(EXT4_GROWER, deadline)?.arg(device.path()).run()?;
    Ok(grown.contains(EXT4_GROWN))
}

/// The same for an ext4 that is not mounted, after the check that this takes. Nothing to do for an xfs, which grows mounted only.
///
/// # Errors
/// As [`grow`]. Cut short, the next check mends it.
pub fn grow_unmounted(kind: FileSystemKind, device: &LoopDevice) -> Result<bool, HostError> {
    if kind == FileSystemKind::Xfs {
        return Ok(false);
    }
    let deadline = growing_deadline(device)?;
    let checked = Tool::new("e2fsck", deadline)?.args(["-f", "-p"]).arg(device.path()).finish()?;
    // 1: something was mended (e2fsck(8)).
    if !matches!(checked.code(), Some(0 | 1)) {
        return Err(checked.into_error());
    }
    grow_ext4(device, deadline)
}

/// Each new group of blocks is a step of its own, on a disk that others use.
fn growing_deadline(device: &LoopDevice) -> Result<Duration, HostError> {
    Ok(Duration::from_secs(300 + device.size_bytes()? / (4 * GIB)))
}

const EXT4_GROWER: &str = "resize2fs";

/// What it says only if it has changed something.
const EXT4_GROWN: &str = " is now ";

/// How much of the beginning of a file system [`size_bytes`] looks at.
pub const SIZED_BY_BYTES: usize = 4096;

/// How large a file system is by its superblock, in its first [`SIZED_BY_BYTES`]; of one that is mounted, it may have been so a
/// while ago. `None`: that is not its superblock.
#[must_use]
#[expect(clippy::big_endian_bytes, reason = "xfs is big-endian")]
pub fn size_bytes(kind: FileSystemKind, beginning: &[u8; SIZED_BY_BYTES]) -> Option<u64> {
    match kind {
        // Documentation/filesystems/ext4/super.rst
        FileSystemKind::Ext4 => {
            let superblock = &beginning[1024..2048];
            let le32 = |at: usize| Some(u32::from_le_bytes(superblock[at..at + 4].try_into().ok()?));
            let is_64bit = le32(0x60)? & 0x80 != 0;
            let high = if is_64bit { le32(0x150)? } else { 0 };
            let blocks = u64::from(high) << 32 | u64::from(le32(0x4)?);
            let block_size = 1024_u64.checked_shl(le32(0x18)?)?;
            (superblock[0x38..0x3a] == [0x53, 0xef]).then(|| blocks.checked_mul(block_size))?
        }
        // fs/xfs/libxfs/xfs_format.h, struct xfs_dsb
        FileSystemKind::Xfs => {
            let block_size = u32::from_be_bytes(beginning[4..8].try_into().ok()?);
            let blocks = u64::from_be_bytes(beginning[8..16].try_into().ok()?);
            (beginning[..4] == *b"XFSB").then(|| blocks.checked_mul(block_size.into()))?
        }
    }
}

/// Where the superblocks lie that a growth changes last, of the file system with this beginning. If it was cut short, some of them say
/// another size than the first: xfs_repair(8) goes by the majority, and would cut off what is behind. Those of an ext4 are looked
/// at by nobody unless the first is damaged.
#[must_use]
pub fn last_to_be_resized(kind: FileSystemKind, beginning: &[u8; SIZED_BY_BYTES]) -> Vec<u64> {
    if kind == FileSystemKind::Ext4 {
        return Vec::new();
    }
    let be32 = |at: usize| beginning[at..at + 4].try_into().map_or(0, u32::from_be_bytes);
    let (block_size, group_blocks, groups) = (be32(4), be32(84), be32(88));
    // One at the beginning of each group. After a growth they are written in this order, 16 at a time
    // (xfs_update_secondary_sbs() in fs/xfs/libxfs/xfs_sb.c).
    let last = groups.saturating_sub(16).max(1)..groups;
    let group_bytes = u64::from(group_blocks).saturating_mul(block_size.into());
    // A damaged one may say anything: what lies behind every volume is looked for in vain.
    last.map(|group| u64::from(group).saturating_mul(group_bytes)).collect()
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
        _ => Err(child::another_question()),
    }
}

/// In the child.
pub(super) fn sync_here(dir: &Path) -> Result<(), HostError> {
    let syncing = || format!("cannot sync the file system at {}", dir.display());
    rustix::fs::syncfs(File::open(dir).context(syncing)?).context(syncing)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// As the programs that make them write it.
    #[test]
    fn the_size_of_a_file_system_is_read_from_its_superblock() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        let made = |program: &str, options: &[&str], mib: u64| {
            let file = File::create(&image).unwrap();
            file.set_len(mib * MIB).unwrap();
            let made = Command::new(program).args(options).arg(&image).output().expect(program);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            *fs::read(&image).unwrap().first_chunk::<SIZED_BY_BYTES>().unwrap()
        };
        let ext4 = made("mkfs.ext4", &["-q", "-F", "-b", "4096"], 96);
        let xfs = made("mkfs.xfs", &["-q", "-f", "-s", "size=4096"], 320);
        assert_eq!(size_bytes(FileSystemKind::Ext4, &ext4), Some(96 * MIB));
        assert_eq!(size_bytes(FileSystemKind::Xfs, &xfs), Some(320 * MIB));
        assert_eq!(size_bytes(FileSystemKind::Xfs, &ext4), None);
        assert_eq!(size_bytes(FileSystemKind::Ext4, &xfs), None);
        for kind in [FileSystemKind::Ext4, FileSystemKind::Xfs] {
            assert_eq!(size_bytes(kind, &[0xff; SIZED_BY_BYTES]), None);
        }
        // Four groups of 80 MiB, and the first has the superblock that was read.
        assert_eq!(last_to_be_resized(FileSystemKind::Xfs, &xfs), [80 * MIB, 160 * MIB, 240 * MIB]);
        assert!(last_to_be_resized(FileSystemKind::Ext4, &ext4).is_empty());
    }

    #[test]
    fn a_damaged_superblock_has_no_others_within_any_volume() {
        let others = last_to_be_resized(FileSystemKind::Xfs, &[0xff; SIZED_BY_BYTES]);
        assert!(others.len() == 16 && others.iter().all(|offset| *offset == u64::MAX), "{others:?}");
    }
}
