//! One process for ever: its pid and when it started. A pid alone is given to others later.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// `PF_KTHREAD` of linux/sched.h, in the flags that `/proc/PID/stat` prints.
pub(super) const KERNEL_THREAD: u64 = 0x0020_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessName {
    pub pid: u32,
    /// Clock ticks after boot.
    started_at_ticks: u64,
}

impl ProcessName {
    /// None if there is none, or only its exit code is left.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        read_stat(&directory_of(pid)).filter(|stat| !stat.is_zombie).map(|stat| stat.name(pid))
    }

    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// None if the process is gone.
    pub(super) fn open(self) -> Result<Option<OwnedFd>, Errno> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            result => result?,
        };
        // Read after the descriptor was opened: if it is still the same process now, the descriptor is of it.
        let stat = read_stat(&directory_of(self.pid));
        Ok(stat.filter(|stat| stat.name(self.pid) == self).map(|_| process))
    }
}

/// The processes above this one, up to the first of all.
#[must_use]
pub fn ancestors() -> Vec<ProcessName> {
    let mut found: Vec<ProcessName> = Vec::new();
    let mut parent = read_stat(Path::new("/proc/self")).map_or(0, |stat| stat.parent);
    while let Some(stat) = read_stat(&directory_of(parent))
        && !found.contains(&stat.name(parent))
    {
        found.push(stat.name(parent));
        parent = stat.parent;
    }
    found
}

fn directory_of(pid: u32) -> PathBuf {
    format!("/proc/{pid}").into()
}

pub struct Stat {
    pub(super) is_zombie: bool,
    parent: u32,
    pub(super) flags: u64,
    started_at_ticks: u64,
}

impl Stat {
    pub(super) fn name(&self, pid: u32) -> ProcessName {
        ProcessName { pid, started_at_ticks: self.started_at_ticks }
    }
}

/// `process`: its directory, or a thread's, below `/proc`.
pub(super) fn read_stat(process: &Path) -> Option<Stat> {
    parse_stat(&fs::read(process.join("stat")).ok()?)
}

/// Fields of proc_pid_stat(5): 3 state, 4 parent, 9 flags, 22 start time. The second, the name, may contain anything.
pub fn parse_stat(stat: &[u8]) -> Option<Stat> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    Some(Stat {
        is_zombie: field(3)? == "Z",
        parent: field(4)?.parse().ok()?,
        flags: field(9)?.parse().ok()?,
        started_at_ticks: field(22)?.parse().ok()?,
    })
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
            assert_eq!((stat.parent, stat.flags, stat.started_at_ticks), (1, 2_097_152, 4711));
            assert_ne!(stat.flags & KERNEL_THREAD, 0);
        }
        assert!(parse_stat(b"42 (sh) S 1 2").is_none() && parse_stat(b"").is_none());
    }

    #[test]
    fn this_process_is_read_as_a_living_one() {
        let stat = read_stat(Path::new("/proc/self")).unwrap();
        assert!(!stat.is_zombie && stat.flags & KERNEL_THREAD == 0 && stat.started_at_ticks > 0);
        assert!(stat.name(std::process::id()).is_alive());
    }

    #[test]
    fn the_ancestors_end_with_the_first_process_of_all() {
        let pids: Vec<u32> = ancestors().iter().map(|process| process.pid).collect();
        assert_eq!(pids.first(), Some(&std::os::unix::process::parent_id()));
        assert!(!pids.contains(&std::process::id()));
        assert_eq!(pids.last(), Some(&1), "{pids:?}");
    }

    #[test]
    fn a_process_that_ended_has_no_name() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = ProcessName::of(child.id()).unwrap();
        assert!(process.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.is_alive() && ProcessName::of(child.id()) != Some(process));
    }
}
