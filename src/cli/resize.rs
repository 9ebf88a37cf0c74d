//! `envol resize`: an attached volume by its daemon, while it is used; any other one by this command.

use serde_json::json;

use super::arguments::Resize;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use super::quantity::size;
use crate::catalog::{self, Root, VolumePaths};
use crate::daemon::{Command, ControlError, Conversation, FileSystemOutcome, Reply, ResizeOutcome, clear_leftovers};
use crate::format::Geometry;

pub(super) fn run(root: &Root, verb: &Resize, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    Geometry::new(verb.size).map_err(|error| CliError::usage(error.to_string()))?;
    if let Some(revoked) = catalog::read_revoked(&paths) {
        return Err(revoked.into());
    }
    let outcome = match attached(&paths, verb, output)? {
        Some(outcome) => outcome,
        None => unattached(&paths, verb, output)?,
    };
    report(&paths, &outcome, output)
}

/// `None`: nobody serves it.
fn attached(paths: &VolumePaths, verb: &Resize, output: &Output) -> Result<Option<ResizeOutcome>, CliError> {
    let command = Command::Resize { size_bytes: verb.size };
    let mut line = match Conversation::begin(paths, &command) {
        Ok(line) => line,
        Err(error) if error.is_nobody() => return Ok(None),
        Err(error) => return Err(lost(paths, error)),
    };
    let mut said = String::new();
    loop {
        match line.hear().map_err(|error| lost(paths, error))? {
            Reply::Resizing { doing } if doing == said => {}
            Reply::Resizing { doing } => {
                output.progress(&doing);
                said = doing;
            }
            Reply::Resized(outcome) => return Ok(Some(outcome)),
            Reply::ResizeFailed { message, exit_code } => return Err(CliError::of_daemon(exit_code, message)),
            Reply::Busy { message } => return Err(CliError::new(ExitStatus::Busy, message)),
            Reply::Failed { message } => return Err(CliError::new(ExitStatus::Unexpected, message)),
            _ => return Err(CliError::new(ExitStatus::Unexpected, "the daemon answered another question")),
        }
    }
}

/// A volume that became terminal meanwhile says why.
fn lost(paths: &VolumePaths, error: ControlError) -> CliError {
    if let Some(revoked) = catalog::read_revoked(paths) {
        return revoked.into();
    }
    if !error.is_lost() {
        return error.into();
    }
    let message = format!(
        "the daemon of volume {} ended before it was done. The volume has its old size or the new one; the same command goes on, and so \
         does the next attach",
        paths.id()
    );
    CliError::new(ExitStatus::Unexpected, message)
}

fn unattached(paths: &VolumePaths, verb: &Resize, output: &Output) -> Result<ResizeOutcome, CliError> {
    // What a killed daemon left still shows the old size, and may write yet.
    clear_leftovers(paths, false)?;
    output.progress("asking KMS for the volume key");
    let resized = catalog::resize(paths, verb.size, verb.kms_profile.as_deref(), |warning| output.warning(warning))?;
    let has_file_system = catalog::has_file_system(paths);
    Ok(ResizeOutcome {
        from_bytes: resized.from.size_bytes(),
        size_bytes: resized.to.size_bytes(),
        file_system: if has_file_system { FileSystemOutcome::AtNextAttach } else { FileSystemOutcome::None },
    })
}

fn report(paths: &VolumePaths, outcome: &ResizeOutcome, output: &Output) -> Result<(), CliError> {
    let ResizeOutcome { from_bytes, size_bytes, file_system } = outcome;
    let id = paths.id();
    let volume = if from_bytes == size_bytes {
        format!("volume {id} has {} already", size(*size_bytes))
    } else {
        format!("volume {id} is grown from {} to {}", size(*from_bytes), size(*size_bytes))
    };
    let rest = match file_system {
        FileSystemOutcome::Grown => ", and its file system is grown",
        FileSystemOutcome::Unchanged => ", and its file system too",
        FileSystemOutcome::AtNextAttach => {
            "; its file system is grown, if it is smaller, when it is attached to a directory next"
        }
        FileSystemOutcome::None => "",
    };
    let object = json!({
        "volume_id": id,
        "size_bytes": size_bytes,
        "previous_size_bytes": from_bytes,
        "file_system": file_system,
    });
    output.print(&format!("{volume}{rest}"), &object)
}
