//! The control socket of an attached volume: one JSON object a line, a question and its answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalog::VolumePaths;

/// Raised when a question or an answer changes its meaning.
pub(super) const PROTOCOL_VERSION: u32 = 1;

/// A healthy daemon answers at once.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// Unmounting a database's file system writes back all that is dirty.
const DETACH_DEADLINE: Duration = Duration::from_secs(600);

/// No question is longer.
pub(super) const MAX_LINE_BYTES: u64 = 64 << 10;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub version: u32,
    /// The volume's directory: the same id may stand under two root directories, and only one of them is meant.
    pub dir: PathBuf,
    #[serde(flatten)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    Status,
    /// With `force`, the processes that keep the volume busy are ended.
    Detach {
        force: bool,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    Status(Box<LiveStatus>),
    /// Everything is unmounted; the daemon ends now.
    Detached,
    Busy {
        message: String,
    },
    /// This daemon serves a volume of the same id under another root directory.
    AnotherRoot {
        pid: u32,
        dir: PathBuf,
    },
    Failed {
        message: String,
    },
}

/// What only the daemon knows of its volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveStatus {
    pub state: String,
    pub since: Timestamp,
    pub cause: Option<String>,
    pub pid: u32,
    pub mount_point: Option<String>,
    pub device: Option<String>,
    pub verified_at: Option<Timestamp>,
    pub unverified_s: u64,
    pub last_kms_error: Option<String>,
    /// Where the keys lie: `memfd_secret` or `mlock`.
    pub key_memory: String,
    /// What the host did not allow, e.g. locking all memory.
    pub refused: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the volume {} of the same id is attached, by pid {pid}", .dir.display())]
    AnotherRoot { pid: u32, dir: PathBuf },
    /// No daemon listens: the volume is not attached.
    #[error("no daemon answers at the control socket")]
    NotAttached,
    #[error("the daemon's control socket failed: {0}")]
    Io(#[from] io::Error),
}

/// Asks the daemon of a volume and waits for its answer.
pub fn ask(paths: &VolumePaths, command: Command) -> Result<Reply, ControlError> {
    let mut stream = match UnixStream::connect(paths.control_socket()) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(ControlError::NotAttached);
        }
        Err(error) => return Err(error.into()),
    };
    let deadline = match command {
        Command::Status => STATUS_DEADLINE,
        Command::Detach { .. } => DETACH_DEADLINE,
    };
    stream.set_read_timeout(Some(deadline))?;
    stream.set_write_timeout(Some(STATUS_DEADLINE))?;
    let mut line = serde_json::to_vec(&Request { version: PROTOCOL_VERSION, dir: paths.dir().to_owned(), command })
        .map_err(io::Error::from)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match serde_json::from_str(&answer).map_err(io::Error::from)? {
        Reply::AnotherRoot { pid, dir } => Err(ControlError::AnotherRoot { pid, dir }),
        reply => Ok(reply),
    }
}
