//! The end of processes. Signals go to the very processes that are meant, never to one that got the same pid later.

use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::DeviceNumber;
use super::child::{self, Answer, Task};
use super::error::HostError;
use super::process_name::ProcessName;
use super::processes::{Holder, holders_of};

/// What became of the processes that used a file system.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Ended {
    pub ended: Vec<Holder>,
    /// Spared, not ours to end, or waiting inside the kernel.
    pub left: Vec<Holder>,
}

/// Ends processes: SIGTERM, and SIGKILL to those that are still there after `grace`. Returns those that remain `kill_wait`
/// after that: not ours, or waiting inside the kernel.
#[must_use]
pub fn end(holders: &[Holder], grace: Duration, kill_wait: Duration) -> Vec<Holder> {
    let remaining = in_turn(&names(holders), &[(Some(Signal::TERM), grace), (Some(Signal::KILL), kill_wait)]);
    holders.iter().filter(|holder| remaining.contains(&holder.process)).cloned().collect()
}

/// SIGKILL. Whether the process is gone within `wait`.
#[must_use]
pub fn kill(process: ProcessName, wait: Duration) -> bool {
    in_turn(&[process], &[(Some(Signal::KILL), wait)]).is_empty()
}

/// Ends every process that [`holders_of`] finds, until there is none: those that do not end by themselves within `last_words` of
/// their first error are killed. Never `spared`, nor a process that is this program. Waits for the killed ones at most
/// `kill_wait`.
///
/// # Errors
/// As [`Tool::run`](super::tools::Tool::run).
pub fn end_holders(
    devices: &[DeviceNumber],
    spared: &[ProcessName],
    last_words: Duration,
    kill_wait: Duration,
) -> Result<Ended, HostError> {
    let task = Task::EndProcesses { devices: devices.to_vec(), spared: spared.to_vec(), last_words, kill_wait };
    match child::run(&task, last_words + kill_wait * 2)? {
        Answer::EndProcesses(ended) => Ok(ended),
        _ => Err(HostError::Unsupported { what: "the child answered another question".to_owned() }),
    }
}

/// In the child. A database whose process was killed may start another meanwhile, so it looks again.
pub(super) fn end_all(
    devices: &[DeviceNumber],
    spared: &[ProcessName],
    last_words: Duration,
    kill_wait: Duration,
) -> Result<Ended, HostError> {
    let until = Instant::now() + last_words + kill_wait;
    let mut result = Ended::default();
    let mut grace = last_words;
    loop {
        let is_spared = |holder: &Holder| spared.contains(&holder.process) || is_this_program(holder.process.pid);
        let (spared, holders): (Vec<_>, Vec<_>) = holders_of(devices)?.into_iter().partition(is_spared);
        if holders.is_empty() || Instant::now() >= until {
            result.left = [spared, holders].concat();
            return Ok(result);
        }
        // In the first half of its last words each may end by itself, in the second in answer to SIGTERM.
        let left_for_kill = until.saturating_duration_since(Instant::now() + grace);
        let turns = [(None, grace / 2), (Some(Signal::TERM), grace / 2), (Some(Signal::KILL), left_for_kill)];
        let remaining = in_turn(&names(&holders), &turns);
        result.ended.extend(holders.into_iter().filter(|holder| !remaining.contains(&holder.process)));
        grace = Duration::ZERO;
    }
}

/// Each signal to those that are still there, and then the wait. Returns those that remain after the last.
fn in_turn(processes: &[ProcessName], turns: &[(Option<Signal>, Duration)]) -> Vec<ProcessName> {
    let mut alive: Vec<(ProcessName, OwnedFd)> = Vec::new();
    let mut remaining = Vec::new();
    for process in processes {
        match process.open() {
            Ok(Some(descriptor)) => alive.push((*process, descriptor)),
            Ok(None) => {}
            Err(_) => remaining.push(*process),
        }
    }
    for (signal, wait) in turns {
        for (_, process) in alive.iter().filter(|_| signal.is_some()) {
            // It fails if the process is gone, or not ours; both is seen in the wait.
            let _ = signal.map(|signal| pidfd_send_signal(process, signal));
        }
        wait_for_ends(&mut alive, *wait);
    }
    remaining.extend(alive.into_iter().map(|(process, _)| process));
    remaining
}

fn wait_for_ends(alive: &mut Vec<(ProcessName, OwnedFd)>, wait: Duration) {
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

fn names(holders: &[Holder]) -> Vec<ProcessName> {
    holders.iter().map(|holder| holder.process).collect()
}

/// By name, not by looking at the file, which may be on a file system that does not answer.
fn is_this_program(pid: u32) -> bool {
    let name = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    name("self").is_some_and(|ours| name(&pid.to_string()) == Some(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_another_process_has_by_now_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let present = ProcessName::of(child.id()).unwrap();
        // The same pid, and the start of another process.
        let json = serde_json::to_string(&present).unwrap();
        let other_start = json.replace("\"started_at_ticks\":", "\"started_at_ticks\":9");
        let former_of_that_pid: ProcessName = serde_json::from_str(&other_start).unwrap();
        assert_ne!(former_of_that_pid, present);

        assert!(kill(former_of_that_pid, Duration::ZERO));
        let left_alone = child.try_wait().unwrap().is_none();
        let ended = kill(present, Duration::from_secs(20));
        child.wait().unwrap();
        assert!(left_alone && ended);
    }
}
