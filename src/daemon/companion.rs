//! The process beside the daemon that takes the plaintext away when the daemon is gone unasked: what the page cache holds
//! must not outlive whoever watches the key. It never has a key.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{SignalKind, signal};

use super::attached::Attached;
use super::error::DaemonError;
use super::footprint::Footprint;
use super::remains::Remains;
use super::report::Report;
use super::waiting::reached_within;
use crate::catalog::{CatalogError, VolumePaths};
use crate::revocation::Purge;
use crate::revocation::events::RecordedBy;

/// `argv[0]` of the companion.
const COMPANION_NAME: &str = "envol-companion";

/// What the daemon says before it ends in good order. An end without it is the daemon's death.
const DISMISSAL: &str = "dismissed";

/// What the companion says when it watches.
const WATCHING: &str = "watching";

/// From the dismissal to its end.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// For a companion that still clears up: far more than all steps of a purge may take.
const CLEARING_DEADLINE: Duration = Duration::from_secs(15);

/// The companion, as its daemon has it. While this is there, and the daemon lives, it waits.
pub(super) struct Companion {
    process: Child,
    daemon_lives: ChildStdin,
}

impl Attached {
    /// Starts the companion, or another one where it has been killed.
    pub(super) fn keep_companion(&mut self) {
        if self.companion.as_mut().is_some_and(|companion| !companion.is_gone()) {
            return;
        }
        let id = self.paths.id();
        match Companion::start(&self.paths, &self.footprint) {
            Ok(companion) => {
                self.companion = Some(companion);
                if self.no_companion.take().is_some() {
                    tracing::warn!("volume {id}: a companion watches this daemon again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if self.no_companion.as_ref() != Some(&error) {
                    tracing::error!("volume {id}: no companion watches this daemon, which cannot start one: {error}");
                }
                self.no_companion = Some(error);
            }
        }
    }
}

impl Companion {
    /// Returns when it watches.
    pub(super) fn start(paths: &VolumePaths, footprint: &Footprint) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(COMPANION_NAME).current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        // A signal to the daemon's group, such as Ctrl-C, is not meant for it.
        command.process_group(0);
        let mut process = command.spawn()?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (Some(mut daemon_lives), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("it has no input and output"));
        };
        let mut line = serde_json::to_vec(&(paths, footprint))?;
        line.push(b'\n');
        daemon_lives.write_all(&line)?;
        let mut answer = String::new();
        BufReader::new(stdout).read_line(&mut answer)?;
        if answer.trim_end() != WATCHING {
            return Err(io::Error::other("it ended before it watched"));
        }
        Ok(Self { process, daemon_lives })
    }

    pub(super) fn is_gone(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// Nothing is left to watch.
    pub(super) fn dismiss(mut self) {
        let _ = writeln!(self.daemon_lives, "{DISMISSAL}");
        // One that does not end watches nobody, and ends with its input.
        let _ = reached_within(END_DEADLINE, || self.is_gone());
    }
}

/// Returns when no companion of the volume is at work, so that nothing is taken away that was attached again meanwhile.
pub(super) fn wait_until_gone(paths: &VolumePaths) -> Result<(), DaemonError> {
    let lock = match File::open(paths.companion_lock()) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DaemonError::io("look for the companion of a daemon")(error)),
    };
    if !reached_within(CLEARING_DEADLINE, || flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
        let id = paths.id();
        let message = format!(
            "volume {id} is busy: what its daemon left is still being taken away; `envol events {id}` says how far that is"
        );
        return Err(CatalogError::Busy(message).into());
    }
    // Of one that was killed.
    let _ = std::fs::remove_file(paths.companion_lock());
    Ok(())
}

/// Whether this process was started to be the companion, and nothing else.
pub fn is_companion(argv0: &OsStr) -> bool {
    argv0 == COMPANION_NAME
}

/// The whole life of the companion.
pub fn run_companion() -> ExitCode {
    match watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{COMPANION_NAME}: {error}; `envol attach` starts this process, it is of no use by itself");
            ExitCode::FAILURE
        }
    }
}

fn watch() -> io::Result<()> {
    // It ends when the daemon says so, or after it has cleared up; not with the session or the unit that it is in.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _in_runtime = runtime.enter();
    let _ignored: Vec<_> = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<io::Result<_>>()?;

    let mut daemon = io::stdin().lock();
    let mut line = String::new();
    daemon.read_line(&mut line)?;
    let (paths, footprint): (VolumePaths, Footprint) = serde_json::from_str(&line)?;
    let lock = File::options().write(true).create(true).truncate(false).open(paths.companion_lock())?;
    flock(&lock, FlockOperation::LockExclusive)?;
    println!("{WATCHING}");

    let mut last_words = String::new();
    // An error is the daemon's death as well.
    let _ = daemon.read_line(&mut last_words);
    if last_words.trim_end() != DISMISSAL {
        clear_up(&paths, footprint);
    }
    // Before the lock is released: whoever waits for that makes it anew.
    let _ = std::fs::remove_file(paths.companion_lock());
    Ok(())
}

fn clear_up(paths: &VolumePaths, footprint: Footprint) {
    let report = Report::start(paths, footprint.on_event.as_deref(), RecordedBy::Companion);
    let mut purge = Purge::begin();
    let mut remains = Remains::new(footprint, None);
    tracing::error!("volume {}: its daemon is gone; taking away what it left", paths.id());
    purge.take_away(&mut remains);
    super::detach::forget_runtime_files(paths);
    match report {
        Ok(report) => {
            report.daemon_died(paths, &purge, remains.left());
            report.finish();
        }
        Err(error) => tracing::error!("volume {}: {error}", paths.id()),
    }
}
