//! The control socket of an attached volume: one JSON object a line, a question and its answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::num::NonZero;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::metrics::Counters;
use super::program::Program;
use super::snapshot::SnapshotOrder;
use crate::catalog::{Rewrapped, VolumePaths, VolumeSummary, WrappedKeys};
use crate::format::VolumeId;
use crate::snapshot::{MAX_HEADER_LEN, SnapshotHeader};
use crate::store::CacheMode;

/// Raised when a question or an answer changes its meaning. A new question, or one more field of an answer that may be missing,
/// does not: a daemon that does not know it says so.
pub(super) const PROTOCOL_VERSION: u32 = 1;

/// A healthy daemon answers at once.
const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// Unmounting a database's file system writes back all that is dirty.
const DETACH_DEADLINE: Duration = Duration::from_secs(600);

/// Who writes back all that is dirty may take longer to say how it is.
const SILENCE: Duration = Duration::from_secs(20);

/// The unwrap helper, one call to KMS besides, and a grant to retire for each rewrap that was cut short.
const REWRAP_DEADLINE: Duration = Duration::from_secs(180);

/// How often a command hears how far it is.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// No question is longer.
pub(super) const MAX_LINE_BYTES: u64 = 64 << 10;

/// No answer is longer: one has the header of a snapshot, which a manifest holds up to that length, and little besides.
const MAX_ANSWER_BYTES: u64 = MAX_HEADER_LEN as u64 + (1 << 20);

#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub version: u32,
    /// The volume's directory: the same id may stand under two root directories, and only one of them is meant.
    pub dir: PathBuf,
    #[serde(flatten)]
    pub command: Command,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    Status,
    /// With `force`, the processes that keep the volume busy are ended.
    Detach {
        force: bool,
    },
    /// Answered with [`Reply::Resizing`] until it ends, which it does also when the command is gone.
    Resize {
        size_bytes: u64,
    },
    /// Answered with [`Reply::SnapshotProgress`] until it ends. The command stays connected, or it is given up; further lines from
    /// it are new credentials for the store, [`super::S3Order`].
    Snapshot(Box<SnapshotOrder>),
    /// What KMS wrapped anew for whoever runs the command; none, to finish a rewrap that was cut short.
    Rewrap {
        keys: Option<Box<WrappedKeys>>,
    },
}

impl Command {
    /// Whether daemons of all versions understand it alike, so that after an upgrade each of them can be seen and detached.
    pub(super) fn is_timeless(&self) -> bool {
        matches!(self, Self::Status | Self::Detach { .. })
    }
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
    Resizing {
        doing: String,
    },
    Resized(ResizeOutcome),
    ResizeFailed {
        message: String,
        /// For the command.
        exit_code: u8,
    },
    SnapshotProgress(SnapshotProgress),
    SnapshotTaken {
        header: Box<SnapshotHeader>,
        /// What was read of the volume for it.
        read_bytes: u64,
    },
    SnapshotFailed {
        message: String,
        /// For the command.
        exit_code: u8,
    },
    Rewrapped(Rewrapped),
    RewrapFailed {
        message: String,
        /// For the command.
        exit_code: u8,
    },
}

/// What became of a volume that was to have another size.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ResizeOutcome {
    pub from_bytes: u64,
    pub size_bytes: u64,
    pub file_system: FileSystemOutcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSystemOutcome {
    Grown,
    /// It has the volume's size already.
    Unchanged,
    /// It is not mounted.
    AtNextAttach,
    None,
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct SnapshotProgress {
    pub done_bytes: u64,
    /// 0: the moment is not held yet.
    pub wanted_bytes: u64,
}

/// What only the daemon knows of its volume. Older daemons do not send what was added later: that is `serde(default)`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveStatus {
    pub state: String,
    pub since: Timestamp,
    pub cause: Option<String>,
    /// AWS's own words, once the key is revoked.
    pub detail: Option<String>,
    pub pid: u32,
    pub mount_point: Option<String>,
    pub device: Option<String>,
    pub verified_at: Option<Timestamp>,
    pub unverified_s: u64,
    pub last_kms_error: Option<String>,
    /// Where the keys lie: `memfd_secret` or `mlock`.
    pub key_memory: String,
    pub cache: CacheMode,
    #[serde(default)]
    pub program: Option<Program>,
    /// What the host did not allow, e.g. locking all memory.
    pub refused: Vec<String>,
    /// An older daemon counts nothing.
    #[serde(default)]
    pub counters: Option<Counters>,
}

impl LiveStatus {
    /// The daemon knows better than the disk; but a record there that the volume is terminal outranks a daemon that is still
    /// taking it down.
    pub fn refine(&self, on_disk: &mut VolumeSummary) {
        if matches!(on_disk.state.as_str(), "terminal" | "recoverable") {
            return;
        }
        on_disk.state.clone_from(&self.state);
        on_disk.since = Some(self.since);
        if self.cause.is_some() {
            on_disk.cause.clone_from(&self.cause);
            on_disk.detail.clone_from(&self.detail);
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("the volume {} of the same id is attached, by pid {pid}", .dir.display())]
    AnotherRoot { pid: u32, dir: PathBuf },
    /// No daemon listens: the volume is not attached.
    #[error("no daemon answers at the control socket")]
    NotAttached,
    /// It ended before it answered, and none listens any more.
    #[error("the daemon ended before it answered")]
    Ended,
    /// Its threads may wait inside the kernel, where no signal reaches them.
    #[error(
        "the daemon of volume {id}{} does not answer; it may be stopped, or wait for memory or for its disk. `envol detach --force {id}` \
         ends it, and what was not synced is lost", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Silent { id: VolumeId, pid: Option<i32> },
    #[error("the daemon is of another version than this command, and answers in another way: {0}")]
    AnotherVersion(serde_json::Error),
    #[error("the daemon's control socket failed: {0}")]
    Io(#[from] io::Error),
}

impl ControlError {
    /// Nobody serves the volume, as far as this socket tells.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::NotAttached | Self::Ended)
    }

    /// Somebody is there, and does not answer in time.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }

    /// Somebody served the volume, and went away in the middle of it.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Io(error) if is_end(error))
    }
}

/// Asks the daemon of a volume and waits for its answer. One that dies meanwhile is waited for until it is gone.
pub fn ask(paths: &VolumePaths, command: &Command) -> Result<Reply, ControlError> {
    let mut dying_until = None;
    loop {
        match Conversation::begin(paths, command).and_then(|mut conversation| conversation.hear()) {
            Err(ControlError::Io(error))
                if is_end(&error)
                    && Instant::now() < *dying_until.get_or_insert_with(|| Instant::now() + STATUS_DEADLINE) => {}
            Err(ControlError::NotAttached) if dying_until.is_some() => return Err(ControlError::Ended),
            answer => return answer,
        }
    }
}

/// As [`ask`], for what takes long: meanwhile the daemon is asked how it is, and one that does not say so any more will not answer this either.
pub fn ask_while_it_answers(paths: &VolumePaths, command: Command) -> Result<Reply, ControlError> {
    let (answer, answered) = mpsc::channel();
    let its_paths = paths.clone();
    thread::spawn(move || answer.send(ask(&its_paths, &command)));
    let mut silent_since = None;
    loop {
        match answered.recv_timeout(STATUS_DEADLINE) {
            Ok(answer) => return answer,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ControlError::Ended),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        match ask(paths, &Command::Status) {
            Err(silent) if silent.is_silence() => {
                if silent_since.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                    return answered.try_recv().unwrap_or(Err(silent));
                }
            }
            _ => silent_since = None,
        }
    }
}

/// The other end is closed: by the kernel, since a daemon in good order answers first.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// The process behind a socket that nobody answers; the kernel knows who listens.
pub(super) fn listener(paths: &VolumePaths) -> Option<Pid> {
    peer(&UnixStream::connect(paths.control_socket()).ok()?)
}

fn peer(stream: &UnixStream) -> Option<Pid> {
    rustix::net::sockopt::socket_peercred(stream).ok().map(|peer| peer.pid)
}

/// A question whose answer has several parts. When it is dropped the daemon gives up what it does for it.
pub struct Conversation {
    volume: VolumeId,
    stream: BufReader<UnixStream>,
}

impl Conversation {
    pub fn begin(paths: &VolumePaths, command: &Command) -> Result<Self, ControlError> {
        let stream = match UnixStream::connect(paths.control_socket()) {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Err(ControlError::NotAttached);
            }
            Err(error) => return Err(error.into()),
        };
        stream.set_read_timeout(match command {
            Command::Status => Some(STATUS_DEADLINE),
            Command::Detach { .. } => Some(DETACH_DEADLINE),
            Command::Rewrap { .. } => Some(REWRAP_DEADLINE),
            // A part of the answer comes every PROGRESS_INTERVAL.
            Command::Snapshot(_) | Command::Resize { .. } => Some(STATUS_DEADLINE),
        })?;
        stream.set_write_timeout(Some(STATUS_DEADLINE))?;
        let mut conversation = Self { volume: paths.id().clone(), stream: BufReader::new(stream) };
        conversation.say(&Request {
            version: PROTOCOL_VERSION,
            dir: paths.dir().to_owned(),
            command: command.clone(),
        })?;
        Ok(conversation)
    }

    pub fn say(&mut self, message: &impl Serialize) -> Result<(), ControlError> {
        let mut line = zeroize::Zeroizing::new(serde_json::to_vec(message).map_err(io::Error::from)?);
        line.push(b'\n');
        Ok(self.stream.get_mut().write_all(&line)?)
    }

    pub fn hear(&mut self) -> Result<Reply, ControlError> {
        let mut answer = String::new();
        let read = (&mut self.stream).take(MAX_ANSWER_BYTES).read_line(&mut answer);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let pid = peer(self.stream.get_ref()).map(Pid::as_raw_nonzero).map(NonZero::get);
                ControlError::Silent { id: self.volume.clone(), pid }
            }
            _ => error.into(),
        })?;
        if !answer.ends_with('\n') {
            return Err(match answer.len() as u64 {
                MAX_ANSWER_BYTES => io::Error::new(io::ErrorKind::InvalidData, "an answer without an end"),
                _ => io::ErrorKind::UnexpectedEof.into(),
            }
            .into());
        }
        match serde_json::from_str(&answer).map_err(ControlError::AnotherVersion)? {
            Reply::AnotherRoot { pid, dir } => Err(ControlError::AnotherRoot { pid, dir }),
            reply => Ok(reply),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    /// Word for word what the first daemons answered.
    const FIRST_STATUS: &str = r#"{"reply":"status","state":"in-use","since":"2026-11-29T17:00:00Z","cause":null,"detail":null,
        "pid":4711,"mount_point":"/srv/orders","device":"/dev/loop0","verified_at":"2026-11-29T17:00:10Z","unverified_s":0,
        "last_kms_error":null,"key_memory":"memfd_secret","cache":"none","refused":[]}"#;

    fn with(command: UnixStream) -> Conversation {
        Conversation { volume: "vol-0123456789abcdef0".parse().unwrap(), stream: BufReader::new(command) }
    }

    fn hear(answer: &str) -> Result<Reply, ControlError> {
        let (mut daemon, command) = UnixStream::pair().unwrap();
        daemon.write_all(format!("{}\n", answer.replace('\n', "")).as_bytes()).unwrap();
        with(command).hear()
    }

    #[test]
    fn the_status_of_a_daemon_of_the_first_version_is_understood() {
        let Reply::Status(live) = hear(FIRST_STATUS).unwrap() else { panic!("another reply") };
        assert_eq!((live.pid, live.program), (4711, None));
    }

    #[test]
    fn the_answer_of_a_later_daemon_is_told_from_a_broken_socket() {
        assert!(matches!(hear(r#"{"reply":"sung","verse":1}"#), Err(ControlError::AnotherVersion(_))));
        assert!(matches!(hear(r#"{"reply":"detached","verse":1}"#), Ok(Reply::Detached)));
    }

    #[test]
    fn an_answer_without_an_end_is_given_up_and_one_that_was_cut_short_is_a_lost_daemon() {
        let (mut daemon, command) = UnixStream::pair().unwrap();
        let talker = thread::spawn(move || {
            let (filler, mut said) = ([b' '; 1 << 16], 0);
            while let Ok(()) = daemon.write_all(&filler) {
                said += filler.len() as u64;
            }
            said
        });
        let error = with(command).hear().unwrap_err();
        assert!(error.to_string().contains("without an end"), "{error}");
        // What lay in the socket nobody read.
        let said = talker.join().unwrap();
        assert!((MAX_ANSWER_BYTES - (1 << 16)..MAX_ANSWER_BYTES + (2 << 20)).contains(&said), "{said}");

        let (mut daemon, command) = UnixStream::pair().unwrap();
        daemon.write_all(br#"{"reply":"detached""#).unwrap();
        drop(daemon);
        assert!(with(command).hear().unwrap_err().is_lost());
        // The control: long, and with an end.
        let long = " ".repeat(1 << 16);
        assert!(matches!(hear(&format!(r#"{{"reply":"detached"{long}}}"#)), Ok(Reply::Detached)));
    }

    #[test]
    fn silence_is_told_from_a_broken_socket_and_names_the_volume_and_who_is_silent() {
        let (daemon, command) = UnixStream::pair().unwrap();
        command.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let error = with(command).hear().unwrap_err();
        assert!(error.is_silence() && !error.is_lost() && !error.is_nobody());
        let said = error.to_string();
        assert!(
            said.contains("vol-0123456789abcdef0") && said.contains(&format!("pid {}", std::process::id())),
            "{said}"
        );
        drop(daemon);
    }

    #[test]
    fn what_every_version_must_understand_is_written_as_ever() {
        let said = |command| serde_json::to_string(&Request { version: 1, dir: "/d".into(), command }).unwrap();
        assert_eq!(said(Command::Status), r#"{"version":1,"dir":"/d","command":"status"}"#);
        assert_eq!(
            said(Command::Detach { force: true }),
            r#"{"version":1,"dir":"/d","command":"detach","force":true}"#
        );
    }
}
