//! The processes that use a file system, and their end.
//!
//! Nothing here asks the file system, which may be dead: device numbers and mount ids come from the kernel as text, and where
//! a `stat` must do it is one that takes what the kernel has cached.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::DeviceNumber;
use super::error::{Context, HostError};
use super::mounts::{Mounts, mount_id_in, mount_of};

/// `PF_KTHREAD` of linux/sched.h, in the flags that `/proc/PID/stat` prints.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process that keeps a file system in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    pub pid: u32,
    /// As in `/proc/PID/comm`: at most 15 bytes of the program's name.
    pub name: String,
    pub uses: BTreeSet<Use>,
    /// Clock ticks after boot. Together with the pid it names one process for ever.
    started_at_ticks: u64,
}

/// In which way a process uses a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    OpenFile,
    Mapping,
    WorkingDirectory,
    RootDirectory,
    Executable,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
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
        let started_at_ticks = read_stat(&process)?.started_at_ticks;
        Some(Holder { pid, name: name_of(&process), uses: BTreeSet::new(), started_at_ticks })
    });
    Ok(seers.collect())
}

/// Ends processes: SIGTERM, and SIGKILL to those that are still there after `grace`. Returns those that remain `kill_wait` after that, because
/// they wait inside the kernel. The signals go to these very processes, never to one that got the same pid later.
#[must_use]
pub fn end(holders: &[Holder], grace: Duration, kill_wait: Duration) -> Vec<Holder> {
    let mut alive = Vec::new();
    let mut remaining = Vec::new();
    for holder in holders {
        match open(holder) {
            Ok(Some(process)) => alive.push((holder, process)),
            Ok(None) => {}
            Err(_) => remaining.push(holder.clone()),
        }
    }
    for (signal, wait) in [(Signal::TERM, grace), (Signal::KILL, kill_wait)] {
        for (_, process) in &alive {
            // It fails if the process is gone, or not ours; both is seen in the wait.
            let _ = pidfd_send_signal(process, signal);
        }
        wait_for_ends(&mut alive, wait);
    }
    remaining.extend(alive.into_iter().map(|(holder, _)| holder.clone()));
    remaining
}

/// None if the process is gone.
fn open(holder: &Holder) -> Result<Option<OwnedFd>, Errno> {
    let Some(pid) = i32::try_from(holder.pid).ok().and_then(Pid::from_raw) else {
        return Ok(None);
    };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(None),
        result => result?,
    };
    // Read after the descriptor was opened: if it is still the same process now, the descriptor is of it.
    let stat = read_stat(&PathBuf::from(format!("/proc/{pid}")));
    Ok(stat.filter(|stat| stat.started_at_ticks == holder.started_at_ticks).map(|_| process))
}

fn wait_for_ends(alive: &mut Vec<(&Holder, OwnedFd)>, wait: Duration) {
    let until = Instant::now() + wait;
    while !alive.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        let mut polled: Vec<PollFd<'_>> = alive.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
        let timeout = Timespec::try_from(left).unwrap_or_default();
        let result = poll(&mut polled, Some(&timeout));
        let mut ended = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        if result.is_ok() {
            alive.retain(|_| !ended.next().unwrap_or(false));
        }
        if left.is_zero() {
            return;
        }
    }
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
        (!uses.is_empty()).then(|| Holder { pid, name: name_of(&task), uses, started_at_ticks: stat.started_at_ticks })
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

struct Stat {
    is_zombie: bool,
    flags: u64,
    started_at_ticks: u64,
}

fn read_stat(process: &Path) -> Option<Stat> {
    parse_stat(&fs::read(process.join("stat")).ok()?)
}

/// Fields of proc_pid_stat(5): 3 state, 9 flags, 22 start time. The second, the name, may contain anything.
fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        is_zombie: field(3)? == "Z",
        flags: field(9)?.parse().ok()?,
        started_at_ticks: field(22)?.parse().ok()?,
    })
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

fn mapped_device(line: &[u8]) -> Option<DeviceNumber> {
    let device = line.split(|byte| *byte == b' ').nth(3)?;
    DeviceNumber::from_hex(std::str::from_utf8(device).ok()?)
}

/// The entries of a directory of `/proc` that are numbers.
fn numbers_in(directory: &Path) -> std::io::Result<Vec<u32>> {
    Ok(fs::read_dir(directory)?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let tail = "Z 1 2 3 4 5 2097152 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        for name in ["sh", "a) R 1", "((", "\u{fffd}"] {
            let stat = parse_stat(format!("42 ({name}) {tail}").as_bytes()).unwrap();
            assert!(stat.is_zombie);
            assert_eq!((stat.flags, stat.started_at_ticks), (2_097_152, 4711));
            assert_ne!(stat.flags & KERNEL_THREAD, 0);
        }
        assert!(parse_stat(b"42 (sh) S 1 2").is_none() && parse_stat(b"").is_none());
    }

    #[test]
    fn this_process_is_read_as_a_living_one() {
        let stat = read_stat(Path::new("/proc/self")).unwrap();
        assert!(!stat.is_zombie && stat.flags & KERNEL_THREAD == 0 && stat.started_at_ticks > 0);
    }

    #[test]
    fn the_device_of_a_mapping_is_hexadecimal() {
        let line = b"7f00-7f10 r--p 00000000 07:1f 12 /srv/a b";
        assert_eq!(mapped_device(line), Some(DeviceNumber { major: 7, minor: 31 }));
        assert_eq!(mapped_device(b"7f00-7f10"), None);
    }

    #[test]
    fn a_pid_that_another_process_has_by_now_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let stat = read_stat(&PathBuf::from(format!("/proc/{}", child.id()))).unwrap();
        let started_at_ticks = stat.started_at_ticks;
        let holder = |started_at_ticks| Holder {
            pid: child.id(),
            name: "sleep".into(),
            uses: BTreeSet::new(),
            started_at_ticks,
        };
        let (former, present) = (holder(started_at_ticks - 1), holder(started_at_ticks));

        assert_eq!(end(&[former], Duration::ZERO, Duration::ZERO), []);
        let left_alone = child.try_wait().unwrap().is_none();
        let remaining = end(&[present], Duration::ZERO, Duration::from_secs(20));
        child.wait().unwrap();
        assert!(left_alone);
        assert_eq!(remaining, []);
    }
}
