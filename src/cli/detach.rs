//! `envol detach`.

use serde_json::json;

use super::arguments::Detach;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{self, Root, VolumePaths};
use crate::daemon::{Command, ControlError, Reply, ask, ask_while_it_answers, clear_leftovers, cut_off};

pub(super) fn run(root: &Root, verb: &Detach, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    let id = &verb.volume;
    if let Err(silent) = ask(&paths, &Command::Status)
        && silent.is_silence()
    {
        return end_the_silent(&paths, silent, verb, output);
    }
    match ask_while_it_answers(&paths, Command::Detach { force: verb.force }) {
        Ok(Reply::Detached) => {
            output.print(&format!("volume {id} is detached"), &json!({ "volume_id": id, "state": "available" }))
        }
        Ok(Reply::Busy { message }) => Err(CliError::new(ExitStatus::Busy, message)),
        Ok(Reply::Failed { message }) => Err(CliError::new(ExitStatus::Unexpected, message)),
        Ok(_) => Err(CliError::new(ExitStatus::Unexpected, "the daemon answered another question")),
        Err(silent) if silent.is_silence() => end_the_silent(&paths, silent, verb, output),
        // The daemon ended before it answered: a volume that became terminal meanwhile is gone, and says why.
        Err(error) => match (catalog::read_revoked(&paths), &error) {
            (Some(terminal), error) if !matches!(error, ControlError::NotAttached) => Err(terminal.into()),
            (_, error) if error.is_nobody() => clear_what_is_left(&paths, verb, output),
            _ => Err(error.into()),
        },
    }
}

fn end_the_silent(paths: &VolumePaths, silent: ControlError, verb: &Detach, output: &Output) -> Result<(), CliError> {
    let id = &verb.volume;
    if !verb.force {
        return Err(silent.into());
    }
    cut_off(paths)?;
    let text =
        format!("volume {id} is detached; its daemon did not answer and was ended, and what was not synced is lost");
    output.print(&text, &json!({ "volume_id": id, "state": "available" }))
}

fn clear_what_is_left(paths: &VolumePaths, verb: &Detach, output: &Output) -> Result<(), CliError> {
    let id = &verb.volume;
    if clear_leftovers(paths, verb.force)? {
        let text = format!("volume {id} had lost its daemon; what that left is cleared");
        return output.print(&text, &json!({ "volume_id": id, "state": "available" }));
    }
    let message = format!("volume {id} is not attached; `envol status {id}` says what it is");
    Err(CliError::new(ExitStatus::NoSuchThing, message))
}
