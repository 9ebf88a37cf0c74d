//! What a daemon and its companion left when both are gone: a dead FUSE mount, a loop device on its image, a file system on
//! that, and processes that still hold files there. The next command takes it away before anything else.

use std::time::Duration;

use rustix::process::{Signal, kill_process};

use super::companion;
use super::control::{self, Command, Reply};
use super::detach::forget_runtime_files;
use super::error::DaemonError;
use super::footprint::Footprint;
use super::remains::Remains;
use super::report::Report;
use super::waiting::reached_within;
use crate::catalog::{CatalogError, VolumePaths};
use crate::host::fuse_connection::FuseConnection;
use crate::revocation::Purge;
use crate::revocation::events::RecordedBy;
use crate::store::{FileStore, StoreError};

/// How long the last thread of a killed daemon may take to end: it may be waiting for the disk.
const ENDING_DEADLINE: Duration = Duration::from_secs(5);

/// How long a daemon may take to end whose connection was cut: its threads give up one after the other.
const CUT_DEADLINE: Duration = Duration::from_secs(20);

/// Opens the image for this process alone. Who holds it and does not answer was killed, and is waited for.
pub(super) fn open_image(paths: &VolumePaths) -> Result<FileStore, StoreError> {
    let open = || FileStore::open(&paths.backing());
    let mut opened = open();
    reached_within(ENDING_DEADLINE, || {
        let is_held = matches!(opened, Err(StoreError::Busy { .. }));
        if !is_held || !control::ask(paths, &Command::Status).is_err_and(|error| error.is_nobody()) {
            return true;
        }
        opened = open();
        false
    });
    opened
}

/// Takes away what is left of a volume that nobody serves; whether there was anything. Busy when the volume is served, or
/// when something stays. Processes that were to be kept are ended with `force` only.
pub fn clear_leftovers(paths: &VolumePaths, force: bool) -> Result<bool, DaemonError> {
    let _lock = match open_image(paths) {
        Err(StoreError::Busy { .. }) => return Err(CatalogError::Busy(who_is_attached(paths)).into()),
        // Without an image there is nobody who serves it.
        opened => opened.ok(),
    };
    clear(paths, force)
}

/// Ends a daemon that does not answer, and takes away what it leaves. What was not synced is lost, as by kill -9.
///
/// Its threads may wait inside the kernel for memory or for a disk, where no signal reaches them; when the memory is taken by what they are
/// to write, that is for ever. So the connection of its image goes first: whatever waits for it gets an error and lets go.
///
/// # Errors
/// As [`clear_leftovers`]: it is still there. Busy also when it serves an image of this id under another root directory, which it would
/// have said.
pub fn cut_off(paths: &VolumePaths) -> Result<(), DaemonError> {
    // Socket and connection go by the id alone; whoever serves this image holds its lock.
    let daemon = control::listener(paths);
    if daemon.is_some() && !matches!(FileStore::open(&paths.backing()), Err(StoreError::Busy { .. })) {
        let id = paths.id();
        let message = format!(
            "the daemon that does not answer serves another image with the id {id}: nobody has the one of this root directory open. Name the \
             other with --root"
        );
        return Err(CatalogError::Busy(message).into());
    }
    if let Some(connection) = FuseConnection::at(&paths.mount_point())? {
        connection.abort()?;
    }
    if let Some(daemon) = daemon {
        // Gone already is as good.
        let _ = kill_process(daemon, Signal::KILL);
    }
    reached_within(CUT_DEADLINE, || control::ask(paths, &Command::Status).is_err_and(|error| error.is_nobody()));
    clear_leftovers(paths, true).map(drop)
}

/// For a command that only looks: finishes what a daemon and its companion could not, if there is anything.
pub fn finish_interrupted(paths: &VolumePaths) {
    if !paths.footprint().exists() || !control::ask(paths, &Command::Status).is_err_and(|error| error.is_nobody()) {
        return;
    }
    if let Err(error) = clear_leftovers(paths, false) {
        tracing::warn!("{error}");
    }
}

/// Call with the image locked: whoever served it is gone.
pub(super) fn clear(paths: &VolumePaths, force: bool) -> Result<bool, DaemonError> {
    // The image is locked, so a daemon that answers serves another one: it is alive, and nothing here is left over.
    match control::ask(paths, &Command::Status) {
        Err(error) if error.is_nobody() => {}
        Err(error) => return Err(CatalogError::Busy(error.to_string()).into()),
        Ok(_) => return Err(CatalogError::Busy(who_is_attached(paths)).into()),
    }
    companion::wait_until_gone(paths)?;
    let mut footprint = Footprint::read(paths).unwrap_or_else(|| Footprint::of(paths));
    if footprint.is_nothing() {
        return Ok(false);
    }
    footprint.keep_processes &= !force;
    let report = Report::start(paths, footprint.on_event.as_deref(), RecordedBy::Command)?;
    let mut purge = Purge::begin();
    let mut remains = Remains::new(footprint, None);
    if remains.is_nothing() {
        forget_runtime_files(paths);
        return Ok(false);
    }
    tracing::warn!("volume {}: clearing what a daemon that was killed left mounted", paths.id());
    purge.take_away(&mut remains);
    report.daemon_died(paths, &purge, remains.left());
    report.finish();
    if !remains.left().is_empty() {
        let (id, left) = (paths.id(), remains.left().join("; "));
        let message = format!(
            "volume {id} is busy: a daemon that was killed left something that stays: {left}. Stop what \
                               holds it, or end it with --force"
        );
        return Err(CatalogError::Busy(message).into());
    }
    forget_runtime_files(paths);
    Ok(true)
}

/// Why the image's lock could not be had.
pub(super) fn who_is_attached(paths: &VolumePaths) -> String {
    let id = paths.id();
    match control::ask(paths, &Command::Status) {
        Ok(Reply::Status(status)) => {
            format!("volume {id} is attached already, by pid {}; `envol detach {id}` ends that", status.pid)
        }
        Err(error) if error.is_silence() => format!("volume {id} is attached already: {error}"),
        _ => format!("volume {id} is in use by another process: its image is locked"),
    }
}
