//! Watches from outside what a user of the volume sees: direct reads and commits, until they fail.
//!
//! It is a process of its own: a thread that reads a mount whose server is gone can wait inside the kernel for ever.

mod probes;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::{Deserialize, Serialize};

use super::error::DrillError;
use super::process::MARK;
use crate::host::ProcessName;

/// `argv[0]` of the process.
pub(super) const NAME: &str = "envol-drill-observer";

/// A file that an earlier observer has read until then holds what it wrote.
pub(super) fn check_read(path: &std::path::Path) -> Result<(), DrillError> {
    let read = probes::holds_the_block(path).map_err(DrillError::io("read", path))?;
    if read { Ok(()) } else { Err(DrillError::Failed(format!("{} holds something else", path.display()))) }
}

pub fn is_observer(argv0: &OsStr) -> bool {
    argv0 == NAME
}

/// The observer itself, until its input ends.
pub fn run_observer(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let order = arguments.last().and_then(|text| serde_json::from_str(text.to_str()?).ok());
    match order {
        Some(order) => probes::run(order),
        None => ExitCode::FAILURE,
    }
}

/// What to watch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// A file on the volume, made by the observer.
    pub(super) read: PathBuf,
    pub(super) commit: Commit,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Commit {
    /// A write of how many there were, and its fsync, in a file on the volume.
    File(PathBuf),
    /// A client of a database, which answers each statement with a line.
    Client { program: PathBuf, arguments: Vec<String>, environment: Vec<(String, String)>, statement: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Probe {
    Read,
    Commit,
}

/// One try: a line of what the observer writes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) probe: Probe,
    /// Monotonic clock.
    pub(super) started_us: i64,
    pub(super) ended_us: i64,
    pub(super) failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) errno: Option<i32>,
    pub(super) message: String,
}

/// What is known of one probe so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) successes: u64,
    /// When the last try that succeeded ended.
    pub(super) last_success_us: Option<i64>,
    pub(super) first_failure: Option<(i64, Failure)>,
    /// Tries that succeeded although one before had failed.
    pub(super) successes_after_failure: u64,
    pub(super) longest_us: i64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct SeenBoth {
    pub(super) read: Seen,
    pub(super) commit: Seen,
    /// When each commit was acknowledged, in order.
    pub(super) commits_us: Vec<i64>,
    /// When the observer was ended by somebody else, as the users of a revoked volume are.
    pub(super) ended_us: Option<i64>,
}

pub(super) struct Observer {
    child: Child,
    /// It ends when this is closed.
    input: Option<ChildStdin>,
    seen: Arc<Mutex<SeenBoth>>,
}

impl Observer {
    pub(super) fn start(order: &Order, drill_id: &str) -> Result<Self, DrillError> {
        let order = serde_json::to_string(order).map_err(|error| DrillError::Failed(error.to_string()))?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).arg(order).env(MARK, drill_id).current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let started = command.spawn();
        let mut child = started.map_err(|source| DrillError::Io { action: "start the observer".to_owned(), source })?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let seen = Arc::new(Mutex::new(SeenBoth::default()));
        let written = Arc::clone(&seen);
        thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()).map_while(Result::ok) {
                if let Ok(sample) = serde_json::from_str(&line) {
                    written.lock().unwrap_or_else(PoisonError::into_inner).add(sample);
                }
            }
            let ended_us = Some(super::moment::monotonic_us());
            written.lock().unwrap_or_else(PoisonError::into_inner).ended_us = ended_us;
        });
        Ok(Self { child, input, seen })
    }

    pub(super) fn process(&self) -> Option<ProcessName> {
        ProcessName::of(self.child.id())
    }

    pub(super) fn seen(&self) -> SeenBoth {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells it to end; one that waits inside the kernel is left to a thread.
    pub(super) fn stop(mut self) -> SeenBoth {
        let seen = self.seen();
        drop(self.input.take());
        let _ = self.child.kill();
        thread::spawn(move || self.child.wait());
        seen
    }
}

impl SeenBoth {
    /// How many were acknowledged by then.
    pub(super) fn commits_by(&self, monotonic_us: i64) -> u64 {
        self.commits_us.partition_point(|at| *at <= monotonic_us) as u64
    }

    fn add(&mut self, sample: Sample) {
        let seen = match sample.probe {
            Probe::Read => &mut self.read,
            Probe::Commit => &mut self.commit,
        };
        if sample.probe == Probe::Commit && sample.failure.is_none() {
            self.commits_us.push(sample.ended_us);
        }
        seen.longest_us = seen.longest_us.max(sample.ended_us - sample.started_us);
        match sample.failure {
            None => {
                seen.successes += 1;
                seen.last_success_us = Some(sample.ended_us);
                seen.successes_after_failure += u64::from(seen.first_failure.is_some());
            }
            Some(failure) if seen.first_failure.is_none() => seen.first_failure = Some((sample.ended_us, failure)),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_success_and_the_first_failure_are_kept() {
        let mut seen = SeenBoth::default();
        let failed = |errno| Some(Failure { errno: Some(errno), message: "no".to_owned() });
        for (ended_us, failure) in [(10, None), (20, None), (35, failed(5)), (40, failed(2)), (50, None)] {
            seen.add(Sample { probe: Probe::Read, started_us: ended_us - 5, ended_us, failure });
        }
        assert_eq!((seen.read.successes, seen.read.last_success_us), (3, Some(50)));
        assert_eq!(seen.read.first_failure, Some((35, failed(5).unwrap())));
        assert_eq!((seen.read.successes_after_failure, seen.read.longest_us), (1, 5));
        assert_eq!(seen.commit.successes, 0);

        for ended_us in [60, 70] {
            seen.add(Sample { probe: Probe::Commit, started_us: 55, ended_us, failure: None });
        }
        assert_eq!([59, 60, 69, 70, 99].map(|us| seen.commits_by(us)), [0, 1, 1, 2, 2]);
    }
}
