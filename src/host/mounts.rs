//! What is mounted where, as the kernel's mount table says it, and the mounting and unmounting of file systems.
//!
//! Format of the table: proc_pid_mountinfo(5). It is text, so reading it never waits on a mounted file system.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::DeviceNumber;
use super::error::{Context, HostError};
use super::loop_device::LoopDevice;
use super::tools::Tool;
use crate::format::FileSystemKind;

/// Replaying a journal after a power cut takes its time; only a store that does not answer takes longer.
const MOUNT_DEADLINE: Duration = Duration::from_secs(300);

/// Unmounting writes back what is dirty.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(300);

/// Detaching from the tree waits for nobody, unless it happens to end the last use of the file system.
const LAZY_UNMOUNT_DEADLINE: Duration = Duration::from_secs(10);

/// One line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Unique among the mounts of all namespaces while it exists.
    pub id: u64,
    pub device: DeviceNumber,
    /// Which directory of the file system is seen at the mount point.
    pub root: PathBuf,
    pub mount_point: PathBuf,
    /// Such as `ext4` or `fuse.envol`.
    pub file_system: String,
    pub source: OsString,
    /// Of the file system itself, such as `lowerdir=/a,upperdir=/b`.
    pub options: OsString,
}

/// The mounts of one mount namespace, in the order in which they were made.
#[derive(Debug, Clone, Default)]
pub struct Mounts(Vec<Mount>);

impl Mounts {
    /// The mounts that this process sees.
    ///
    /// # Errors
    /// [`HostError::Io`] if `/proc` is not there.
    pub fn read() -> Result<Self, HostError> {
        fs::read("/proc/self/mountinfo")
            .map(|table| Self::parse(&table))
            .context(|| "cannot read /proc/self/mountinfo".to_owned())
    }

    /// Lines that are no mounts are passed over.
    #[must_use]
    pub fn parse(table: &[u8]) -> Self {
        Self(table.split(|byte| *byte == b'\n').filter_map(parse_line).collect())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }

    /// What is seen at a mount point, given as the kernel writes it (absolute, no symbolic links): the uppermost mount there.
    #[must_use]
    pub fn at(&self, mount_point: &Path) -> Option<&Mount> {
        self.0.iter().rev().find(|mount| mount.mount_point == mount_point)
    }

    #[must_use]
    pub fn with_id(&self, id: u64) -> Option<&Mount> {
        self.0.iter().find(|mount| mount.id == id)
    }

    /// All mounts of one file system.
    pub fn of_device(&self, device: DeviceNumber) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(move |mount| mount.device == device)
    }
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mut text = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
    let id = text()?.parse().ok()?;
    let _parent = text()?;
    let device = text()?.parse().ok()?;
    let root = unescape(fields.next()?).into();
    let mount_point = unescape(fields.next()?).into();
    // Mount options and any number of optional fields come before the dash.
    let mut after_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let file_system = String::from_utf8_lossy(after_dash.next()?).into_owned();
    let source = unescape(after_dash.next()?);
    let options = after_dash.next().map(unescape).unwrap_or_default();
    Some(Mount { id, device, root, mount_point, file_system, source, options })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    OsString::from_vec(bytes)
}

/// Mounts a file system, without device files and set-user-ID programs in it, and with the kernel's defaults otherwise.
///
/// # Errors
/// [`HostError::Failed`] if it is no such file system or a damaged one; [`HostError::TimedOut`].
pub fn mount(device: &LoopDevice, dir: &Path, kind: FileSystemKind, options: &[&str]) -> Result<(), HostError> {
    let options = ["nodev", "nosuid"].iter().chain(options).copied().collect::<Vec<_>>().join(",");
    let tool = Tool::new("mount", MOUNT_DEADLINE)?.args(["--internal-only", "-t", &kind.to_string(), "-o", &options]);
    tool.arg("--source").arg(device.path()).arg("--target").arg(dir).run().map(drop)
}

/// Unmounts what is mounted at `dir`, after writing back what is dirty.
///
/// # Errors
/// [`HostError::Busy`] if something is open in it or mounted on it; [`HostError::TimedOut`] if its store does not answer.
pub fn unmount(dir: &Path) -> Result<(), HostError> {
    unmount_within(dir, UNMOUNT_DEADLINE)
}

/// As [`unmount`], for who cannot wait that long.
///
/// # Errors
/// As [`unmount`].
pub fn unmount_within(dir: &Path, deadline: Duration) -> Result<(), HostError> {
    run_umount(dir, &[], deadline)
}

/// Takes the mount at `dir` out of the tree at once; the file system lives on until the last process has let go of it.
///
/// # Errors
/// [`HostError::Failed`] if nothing is mounted there.
pub fn unmount_lazily(dir: &Path) -> Result<(), HostError> {
    run_umount(dir, &["--lazy"], LAZY_UNMOUNT_DEADLINE)
}

/// Without canonicalizing the path, which would ask the mounted file system; it may be dead.
fn run_umount(dir: &Path, options: &[&str], deadline: Duration) -> Result<(), HostError> {
    let tool = Tool::new("umount", deadline)?.args(["--no-canonicalize", "--internal-only"]);
    match tool.args(options).arg("--").arg(dir).run() {
        Err(HostError::Failed { stderr, .. }) if stderr.contains("target is busy") => {
            Err(HostError::Busy { what: dir.display().to_string() })
        }
        result => result.map(drop),
    }
}

/// Whether something is mounted at `dir`, whatever symbolic links the path goes through.
///
/// # Errors
/// [`HostError::Io`] if there is no such directory.
pub fn is_mount_point(dir: &Path) -> Result<bool, HostError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(CWD, dir, flags, Mode::empty()).context(|| format!("cannot look at {}", dir.display()))?;
    is_root_of_mount(&dir)
}

/// Whether an open directory is where a mount begins.
pub(super) fn is_root_of_mount(dir: &impl AsFd) -> Result<bool, HostError> {
    let fd = dir.as_fd().as_raw_fd();
    let path = fs::read_link(format!("/proc/self/fd/{fd}")).context(|| "cannot read /proc/self/fd".to_owned())?;
    let mounts = Mounts::read()?;
    Ok(mount_of(dir)?.and_then(|id| mounts.with_id(id)).is_some_and(|mount| mount.mount_point == path))
}

/// The id of the mount through which a file was opened. Unlike `stat` it asks the kernel only, never the file system.
pub(super) fn mount_of(file: &impl AsFd) -> Result<Option<u64>, HostError> {
    let fd = file.as_fd().as_raw_fd();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}"));
    Ok(mount_id_in(&info.context(|| "cannot read /proc/self/fdinfo".to_owned())?))
}

/// `mnt_id` of a `/proc/PID/fdinfo` file.
pub fn mount_id_in(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const TABLE: &[u8] = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n\
        36 27 0:30 / /run/envol/vol-1 rw,nosuid shared:5 master:2 - fuse.envol envol rw,user_id=0\n\
        37 27 7:0 / /srv/a\\040b\\134c\\011d rw - ext4 /dev/loop0 rw\n\
        38 27 7:1 /sub /srv/a\\040b\\134c\\011d rw - xfs /dev/loop1 rw\n\
        39 27 7:0 / /mnt/\xff rw - ext4 /dev/loop0 rw\n\
        \n\
        not a mount\n\
        40 27 7:0 / /cut/short rw -\n";

    #[test]
    fn a_line_is_read_with_and_without_optional_fields() {
        let mounts = Mounts::parse(TABLE);
        assert_eq!(mounts.iter().count(), 5);
        let fuse = mounts.at(Path::new("/run/envol/vol-1")).unwrap();
        assert_eq!((fuse.id, fuse.file_system.as_str()), (36, "fuse.envol"));
        assert_eq!(fuse.device, DeviceNumber { major: 0, minor: 30 });
        assert_eq!(mounts.at(Path::new("/")).unwrap().source, "/dev/vda");
        assert_eq!(mounts.at(Path::new("/cut/short")), None);
    }

    #[test]
    fn escapes_are_undone_and_the_uppermost_mount_is_found() {
        let mounts = Mounts::parse(TABLE);
        let upper = mounts.at(Path::new("/srv/a b\\c\td")).unwrap();
        assert_eq!((upper.id, upper.root.as_path()), (38, Path::new("/sub")));
        assert_eq!(mounts.with_id(upper.id), Some(upper));
    }

    #[test]
    fn paths_need_not_be_unicode() {
        let mounts = Mounts::parse(TABLE);
        assert!(mounts.at(Path::new(OsStr::from_bytes(b"/mnt/\xff"))).is_some());
    }

    #[test]
    fn all_mounts_of_a_file_system_are_found() {
        let ids = |device: &str| {
            let device = device.parse().unwrap();
            Mounts::parse(TABLE).of_device(device).map(|mount| mount.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("7:0"), [37, 39]);
        assert_eq!(ids("7:9"), Vec::<u64>::new());
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        for text in [&b"a\\"[..], b"a\\04", b"a\\999", b"a\\777"] {
            assert_eq!(unescape(text).as_bytes(), text);
        }
    }

    #[test]
    fn a_mount_point_is_told_from_a_plain_directory() {
        let plain = tempfile::tempdir().unwrap();
        assert!(!is_mount_point(plain.path()).unwrap());
        let link = plain.path().join("link");
        std::os::unix::fs::symlink("/proc", &link).unwrap();
        assert!(is_mount_point(Path::new("/proc")).unwrap() && is_mount_point(&link).unwrap());
        assert!(is_mount_point(&plain.path().join("absent")).is_err());
    }

    #[test]
    fn the_mount_of_an_open_file_is_read() {
        assert_eq!(mount_id_in("pos:\t0\nflags:\t0100000\nmnt_id:\t27\nino:\t2\n"), Some(27));
        assert_eq!(mount_id_in("pos:\t0\n"), None);
    }
}
