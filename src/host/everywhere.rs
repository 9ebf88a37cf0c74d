//! What is done to every mount of a file system, in every mount namespace of the host.
//!
//! A namespace that was made before an unmount has mounts of its own, and one of them is enough to keep a file system and
//! its cached pages alive.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::child::{self, Answer, Task};
use super::error::{Context, HostError};
use super::mounts::{Mount, Mounts, mount_id_in};
use super::processes::numbers_in;
use super::{DeviceNumber, ioctl};

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// Let it go on, if it is frozen: writers that wait for that cannot be killed.
    Thaw,
    /// Nothing is written any more, also not what is dirty, and every read, write and open fails. What is mapped into
    /// a process stays readable there until the process is gone.
    ShutDown,
    /// In good order, or out of the tree at once where something still uses it.
    Unmount,
}

/// Does it in the namespaces in which one of `devices` is mounted; each has `deadline`. Returns what could not be done, a sentence each.
#[must_use]
pub fn act(devices: &[DeviceNumber], act: Act, deadline: Duration) -> Vec<String> {
    let mut problems = Vec::new();
    for namespace in namespaces_with(devices) {
        let task = Task::Mounts { namespace: namespace.clone(), devices: devices.to_vec(), act };
        let place = namespace.map_or_else(String::new, |path| format!("{}: ", path.display()));
        match child::run(&task, deadline) {
            Ok(Answer::Mounts(found)) => problems.extend(found.into_iter().map(|problem| format!("{place}{problem}"))),
            Ok(_) => problems.push(format!("{place}the child answered another question")),
            Err(error) => problems.push(format!("{place}{error}")),
        }
    }
    problems
}

/// The mounts of these devices in all namespaces, each with the namespace; this process's own is `None`.
#[must_use]
pub fn mounts_of(devices: &[DeviceNumber]) -> Vec<(Option<PathBuf>, Mount)> {
    let of = |(namespace, mounts): (Option<PathBuf>, Mounts)| {
        let found = mounts.iter().filter(|mount| devices.contains(&mount.device)).cloned();
        found.map(|mount| (namespace.clone(), mount)).collect::<Vec<_>>()
    };
    tables().into_iter().flat_map(of).collect()
}

fn namespaces_with(devices: &[DeviceNumber]) -> Vec<Option<PathBuf>> {
    let mut namespaces: Vec<_> = mounts_of(devices).into_iter().map(|(namespace, _)| namespace).collect();
    namespaces.dedup();
    namespaces
}

/// The mount table of each namespace: those of all threads, and those that only a mount of the namespace itself keeps.
pub(super) fn tables() -> Vec<(Option<PathBuf>, Mounts)> {
    let own = Mounts::read().unwrap_or_default();
    let mut seen: HashSet<PathBuf> = fs::read_link("/proc/self/ns/mnt").into_iter().collect();
    let mut tables = Vec::new();
    let processes = numbers_in(Path::new("/proc")).unwrap_or_default();
    for pid in processes {
        let threads = numbers_in(Path::new(&format!("/proc/{pid}/task"))).unwrap_or_default();
        for thread in threads {
            let task = PathBuf::from(format!("/proc/{pid}/task/{thread}"));
            let namespace = task.join("ns/mnt");
            if fs::read_link(&namespace).is_ok_and(|name| seen.insert(name)) {
                let table = fs::read(task.join("mountinfo")).unwrap_or_default();
                tables.push((Some(namespace), Mounts::parse(&table)));
            }
        }
    }
    // Kept by a mount alone, as `unshare --mount=FILE` does it: what is mounted in there is only seen from inside.
    let kept = own.iter().filter(|mount| mount.file_system == "nsfs" && mount.root.starts_with("mnt:["));
    let kept = kept.filter(|mount| seen.insert(mount.root.clone()));
    tables.extend(kept.filter_map(|mount| Some((Some(mount.mount_point.clone()), table_inside(&mount.mount_point)?))));
    tables.insert(0, (None, own));
    tables
}

fn table_inside(namespace: &Path) -> Option<Mounts> {
    let tool = super::tools::Tool::new("nsenter", Duration::from_secs(2)).ok()?;
    let namespace = format!("--mount={}", namespace.display());
    let table = tool.arg(namespace).args(["cat", "/proc/self/mountinfo"]).run().ok()?;
    Some(Mounts::parse(table.as_bytes()))
}

/// What the child does: enters the namespace, for good, and does it to each mount there. In this process only for who may wait.
///
/// # Errors
/// [`HostError::Io`] if there is no such namespace, or no mount table.
pub fn act_here(namespace: Option<&Path>, devices: &[DeviceNumber], act: Act) -> Result<Vec<String>, HostError> {
    // Opened now: there need not be a /proc where we go.
    let process = openat(CWD, "/proc/self", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let process = process.context(|| "cannot open /proc/self".to_owned())?;
    if let Some(path) = namespace {
        let entering = || format!("cannot enter {}", path.display());
        let namespace = File::open(path).context(entering)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount)).context(entering)?;
    }
    let table = read_below(&process, "mountinfo").context(|| "cannot read the mount table".to_owned())?;
    let mounts = Mounts::parse(table.as_bytes());
    let mut problems: Vec<(DeviceNumber, String)> = Vec::new();
    let mut done = HashSet::new();
    // The last first: what is mounted on another mount goes before it.
    let mut found: Vec<&Mount> = mounts.iter().filter(|mount| devices.contains(&mount.device)).collect();
    found.reverse();
    for mount in found {
        if act != Act::Unmount && done.contains(&mount.device) {
            continue;
        }
        match act_on(&process, mount, act) {
            Ok(()) => drop(done.insert(mount.device)),
            Err(error) => problems.push((mount.device, format!("{} {error}", mount.mount_point.display()))),
        }
    }
    // One mount of a file system stands for all of it, but for unmounting.
    problems.retain(|(device, _)| act == Act::Unmount || !done.contains(device));
    Ok(problems.into_iter().map(|(_, problem)| problem).collect())
}

fn act_on(process: &OwnedFd, mount: &Mount, act: Act) -> Result<(), String> {
    let place = openat(CWD, &mount.mount_point, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let place = place.map_err(|errno| format!("cannot be reached: {errno}"))?;
    let info = read_below(process, &format!("fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&place)));
    if info.ok().and_then(|info| mount_id_in(&info)) != Some(mount.id) {
        return Err("is out of sight beneath another mount".to_owned());
    }
    match act {
        Act::Unmount => {
            // It would keep the mount busy.
            drop(place);
            let unmount = |flags| rustix::mount::unmount(&mount.mount_point, flags | UnmountFlags::NOFOLLOW);
            unmount(UnmountFlags::empty())
                .or_else(|_| unmount(UnmountFlags::DETACH))
                .map_err(|errno| format!("cannot be unmounted: {errno}"))
        }
        Act::Thaw | Act::ShutDown => {
            // A descriptor of a place cannot take an ioctl.
            let opened = openat(CWD, &mount.mount_point, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let result = opened.map_err(std::io::Error::from).and_then(|dir| match act {
                Act::Thaw => ioctl::thaw(dir),
                Act::ShutDown | Act::Unmount => ioctl::shut_down_without_flush(dir),
            });
            match result {
                // Not frozen; or not open any more, because it is shut down.
                Err(error) if act == Act::Thaw && is_no_freeze(&error) => Ok(()),
                Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => Ok(()),
                result => result.map_err(|error| format!("refuses: {error}")),
            }
        }
    }
}

/// `EINVAL`: it is not frozen. `EOPNOTSUPP`, `ENOTTY`: such a file system cannot be.
fn is_no_freeze(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY))
}

fn read_below(process: &OwnedFd, file: &str) -> std::io::Result<String> {
    let mut text = String::new();
    File::from(openat(process, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?).read_to_string(&mut text)?;
    Ok(text)
}
