//! Verbs that may wait inside the kernel, run in a child process that is this same program: it can be given up, the
//! caller cannot.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ending::{self, Ended};
use super::error::HostError;
use super::tools::{THIS_PROGRAM, Tool};
use super::{DeviceNumber, ProcessName, everywhere, file_system, freeze};

/// `argv[0]` of the child.
const CHILD_NAME: &str = "envol-host";

/// What the child is told, as JSON in its first argument.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// To every mount of these devices in one mount namespace.
    Mounts {
        namespace: Option<PathBuf>,
        devices: Vec<DeviceNumber>,
        act: everywhere::Act,
    },
    /// The file system that is mounted there.
    Sync {
        dir: PathBuf,
    },
    /// The xfs that is mounted there, to the size of its device.
    GrowXfs {
        dir: PathBuf,
        size_bytes: u64,
    },
    /// Until the child's input ends, or for so long. Answered twice.
    Freeze {
        dir: PathBuf,
        at_most: Duration,
    },
    Thaw {
        dir: PathBuf,
    },
    EndProcesses {
        devices: Vec<DeviceNumber>,
        spared: Vec<ProcessName>,
        last_words: Duration,
        kill_wait: Duration,
    },
}

/// What it answers, as JSON on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// What could not be done, a sentence each.
    Mounts(Vec<String>),
    EndProcesses(Ended),
    Done,
    /// Whether it became larger.
    Grown(bool),
    Frozen,
    /// Whether it was frozen until now.
    Thawed(bool),
    Failed(String),
}

pub(super) fn run(task: &Task, deadline: Duration) -> Result<Answer, HostError> {
    run_by(Path::new(THIS_PROGRAM), task, deadline)
}

/// As [`run`], by this program or a copy of it.
pub(super) fn run_by(program: &Path, task: &Task, deadline: Duration) -> Result<Answer, HostError> {
    read_answer(&tool(program, task, deadline)?.run()?)
}

/// Starts a child that answers more than once.
pub(super) fn start_by(program: &Path, task: &Task) -> Result<Child, HostError> {
    tool(program, task, Duration::ZERO)?.start()
}

fn tool(program: &Path, task: &Task, deadline: Duration) -> Result<Tool, HostError> {
    let argument = serde_json::to_string(task).map_err(unsupported)?;
    Ok(Tool::program_as(program, CHILD_NAME, deadline).arg(argument))
}

pub fn read_answer(answer: &str) -> Result<Answer, HostError> {
    match serde_json::from_str(answer).map_err(unsupported)? {
        Answer::Failed(what) => Err(HostError::Unsupported { what }),
        answer => Ok(answer),
    }
}

pub(super) fn another_question() -> HostError {
    HostError::Unsupported { what: "the child answered another question".to_owned() }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unsupported(error: serde_json::Error) -> HostError {
    HostError::Unsupported { what: format!("{CHILD_NAME}: {error}") }
}

/// Whether this process was started to be the child, and nothing else.
#[must_use]
pub fn is_child(argv0: &OsStr) -> bool {
    argv0 == CHILD_NAME
}

/// The whole life of the child; `arguments` without `argv[0]`.
#[must_use]
pub fn run_child(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let task = arguments.into_iter().next().and_then(|task| serde_json::from_str(task.to_str()?).ok());
    let Some(task) = task else {
        eprintln!("{CHILD_NAME}: `envol` starts this process, it is of no use by itself");
        return ExitCode::from(2);
    };
    let answer = match task {
        Task::Mounts { namespace, devices, act } => {
            everywhere::act_here(namespace.as_deref(), &devices, act).map(Answer::Mounts)
        }
        Task::Sync { dir } => file_system::sync_here(&dir).map(|()| Answer::Done),
        Task::GrowXfs { dir, size_bytes } => file_system::grow_xfs_here(&dir, size_bytes).map(Answer::Grown),
        Task::Freeze { dir, at_most } => freeze::hold(&dir, at_most, || say(&Answer::Frozen)).map(Answer::Thawed),
        Task::Thaw { dir } => freeze::thaw_here(&dir).map(Answer::Thawed),
        Task::EndProcesses { devices, spared, last_words, kill_wait } => {
            ending::end_all(&devices, &spared, last_words, kill_wait).map(Answer::EndProcesses)
        }
    };
    let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
    if say(&answer) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line of its own. Whether anybody can hear it.
fn say(answer: &Answer) -> bool {
    let line = serde_json::to_string(answer).unwrap_or_default();
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_is_recognised_by_its_name_alone() {
        assert!(is_child("envol-host".as_ref()));
        assert!(!is_child("envol".as_ref()));
    }
}
