//! The processes that use a file system.
//!
//! Nothing here asks the file system, which may be dead: device numbers and mount ids come from the kernel as text, and where
//! a `stat` must do it is one that takes what the kernel has cached.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use serde::{Deserialize, Serialize};

use super::DeviceNumber;
use super::error::{Context, HostError};
use super::mounts::{Mounts, mount_id_in, mount_of};
use super::process_name::{KERNEL_THREAD, ProcessName, read_stat};

/// A process that keeps a file system in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub process: ProcessName,
    /// As in `/proc/PID/comm`: at most 15 bytes of the program's name.
    pub name: String,
    pub uses: BTreeSet<Use>,
}

/// In which way a process uses a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Use {
    OpenFile,
    Mapping,
    WorkingDirectory,
    RootDirectory,
    Executable,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenFile => "an open file",
            Self::Mapping => "a mapped file",
            Self::WorkingDirectory => "its working directory",
            Self::RootDirectory => "its root",
            Self::Executable => "its program",
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.process.pid)
    }
}

/// The processes with an open file, mapping, working directory, root or executable on one of these file systems, in
/// whatever mount namespace, also when it was lazily unmounted. Never a kernel thread, never pid 1, never this process. A process that merely
/// sees the mount is none of them. Without root, only the caller's own processes are seen.
///
/// # Errors
/// [`HostError::Io`] if `/proc` is not there.
pub fn holders_of(devices: &[DeviceNumber]) -> Result<Vec<Holder>, HostError> {
    let mut pids: Vec<u32> = numbers_in(Path::new("/proc")).context(|| "cannot list /proc".to_owned())?;
    pids.retain(|pid| *pid != 1 && *pid != std::process::id());
    pids.sort_unstable();
    let scan = Scan { devices, device_of_mount: devices_of_mounts(&pids) };
    Ok(pids.into_iter().filter_map(|pid| scan.holder(pid)).collect())
}

/// Of each mount namespace in which one of these file systems is mounted, this process's own apart, one process. Such a mount
/// keeps the device in use although no process uses it.
///
/// # Errors
/// [`HostError::Io`] if `/proc` is not there.
pub fn seers_of(devices: &[DeviceNumber]) -> Result<Vec<Holder>, HostError> {
    let mut pids: Vec<u32> = numbers_in(Path::new("/proc")).context(|| "cannot list /proc".to_owned())?;
    pids.sort_unstable();
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let mut seen = HashSet::from([namespace(Path::new("/proc/self"))]);
    let processes = pids.into_iter().map(|pid| (pid, PathBuf::from(format!("/proc/{pid}"))));
    let seers = processes.filter_map(|(pid, process)| {
        let table = fs::read(process.join("mountinfo")).ok()?;
        if !Mounts::parse(&table).iter().any(|mount| devices.contains(&mount.device))
            || !seen.insert(namespace(&process))
        {
            return None;
        }
        let holder =
            |name_of_process| Holder { process: name_of_process, name: name_of(&process), uses: BTreeSet::new() };
        Some(holder(read_stat(&process)?.name(pid)))
    });
    Ok(seers.collect())
}

struct Scan<'a> {
    devices: &'a [DeviceNumber],
    device_of_mount: HashMap<u64, DeviceNumber>,
}

impl Scan<'_> {
    /// None also if the process ended meanwhile, or belongs to another user.
    fn holder(&self, pid: u32) -> Option<Holder> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let stat = read_stat(&process).filter(|stat| stat.flags & KERNEL_THREAD == 0)?;
        let task = if stat.is_zombie { living_thread(&process)? } else { process };

        let mut uses = BTreeSet::new();
        for (link, kind) in [("cwd", Use::WorkingDirectory), ("root", Use::RootDirectory), ("exe", Use::Executable)] {
            if self.is_on_devices(&task.join(link)) {
                uses.insert(kind);
            }
        }
        if self.has_open_file(&task) {
            uses.insert(Use::OpenFile);
        }
        if self.has_mapping(&task) {
            uses.insert(Use::Mapping);
        }
        (!uses.is_empty()).then(|| Holder { process: stat.name(pid), name: name_of(&task), uses })
    }

    /// Follows one of the links of `/proc/PID`, which leads to the place itself and not along a path.
    fn is_on_devices(&self, link: &Path) -> bool {
        let place = openat(CWD, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let mount = place.ok().and_then(|place| mount_of(&place).ok()?);
        mount.is_some_and(|mount| self.is_mount_of_devices(mount, link))
    }

    fn has_open_file(&self, task: &Path) -> bool {
        let descriptors: Vec<u32> = numbers_in(&task.join("fdinfo")).unwrap_or_default();
        descriptors.into_iter().any(|fd| {
            let info = fs::read_to_string(task.join(format!("fdinfo/{fd}"))).unwrap_or_default();
            mount_id_in(&info).is_some_and(|mount| self.is_mount_of_devices(mount, &task.join(format!("fd/{fd}"))))
        })
    }

    /// A mount that no namespace knows was lazily unmounted, or is one of the kernel's own (pipes, sockets). Then the cached attributes
    /// tell the device, without a request to the file system; only a shut-down XFS does not tell even these.
    fn is_mount_of_devices(&self, mount: u64, link: &Path) -> bool {
        let device = self.device_of_mount.get(&mount).copied().or_else(|| {
            let cached = statx(CWD, link, AtFlags::STATX_DONT_SYNC, StatxFlags::empty()).ok()?;
            Some(DeviceNumber { major: cached.stx_dev_major, minor: cached.stx_dev_minor })
        });
        device.is_some_and(|device| self.devices.contains(&device))
    }

    fn has_mapping(&self, task: &Path) -> bool {
        let Ok(maps) = File::open(task.join("maps")) else {
            return false;
        };
        let lines = BufReader::new(maps).split(b'\n').map_while(Result::ok);
        lines.filter_map(|line| mapped_device(&line)).any(|device| self.devices.contains(&device))
    }
}

/// The devices of all mounts of all mount namespaces that processes are in.
fn devices_of_mounts(pids: &[u32]) -> HashMap<u64, DeviceNumber> {
    let mut tables = HashSet::new();
    let mut devices = HashMap::new();
    for pid in std::iter::once(&std::process::id()).chain(pids) {
        // A process sees the mounts of its namespace that are beneath its root.
        let seen = [format!("/proc/{pid}/ns/mnt"), format!("/proc/{pid}/root")].map(|link| fs::read_link(link).ok());
        if !tables.insert(seen) {
            continue;
        }
        let table = fs::read(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        devices.extend(Mounts::parse(&table).iter().map(|mount| (mount.id, mount.device)));
    }
    devices
}

fn name_of(task: &Path) -> String {
    fs::read_to_string(task.join("comm")).unwrap_or_default().trim_end().to_owned()
}

/// The first thread of a process may have ended before the others.
fn living_thread(process: &Path) -> Option<PathBuf> {
    let threads: Vec<u32> = numbers_in(&process.join("task")).ok()?;
    let tasks = threads.into_iter().map(|thread| process.join(format!("task/{thread}")));
    tasks.into_iter().find(|task| read_stat(task).is_some_and(|stat| !stat.is_zombie))
}

pub fn mapped_device(line: &[u8]) -> Option<DeviceNumber> {
    let device = line.split(|byte| *byte == b' ').nth(3)?;
    DeviceNumber::from_hex(std::str::from_utf8(device).ok()?)
}

/// The entries of a directory of `/proc` that are numbers.
pub(super) fn numbers_in(directory: &Path) -> std::io::Result<Vec<u32>> {
    Ok(fs::read_dir(directory)?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_a_mapping_is_hexadecimal() {
        let line = b"7f00-7f10 r--p 00000000 07:1f 12 /srv/a b";
        assert_eq!(mapped_device(line), Some(DeviceNumber { major: 7, minor: 31 }));
        assert_eq!(mapped_device(b"7f00-7f10"), None);
    }
}
