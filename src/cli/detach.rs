//! `envol detach`.

use serde_json::json;

use super::arguments::Detach;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{self, Root};
use crate::daemon::{Command, ControlError, Reply, ask, clear_leftovers};

pub(super) fn run(root: &Root, verb: &Detach, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    let id = &verb.volume;
    match ask(&paths, Command::Detach { force: verb.force }) {
        Ok(Reply::Detached) => {
            output.print(&format!("volume {id} is detached"), &json!({ "volume_id": id, "state": "available" }))
        }
        Ok(Reply::Busy { message }) => Err(CliError::new(ExitStatus::Busy, message)),
        Ok(Reply::Failed { message }) => Err(CliError::new(ExitStatus::Unexpected, message)),
        Ok(Reply::Status(_) | Reply::AnotherRoot { .. }) => {
            Err(CliError::new(ExitStatus::Unexpected, "the daemon answered another question"))
        }
        Err(ControlError::NotAttached) if clear_leftovers(&paths, verb.force)? => {
            let text = format!("volume {id} had lost its daemon; what that left is cleared");
            output.print(&text, &json!({ "volume_id": id, "state": "available" }))
        }
        Err(ControlError::NotAttached) => {
            let message = format!("volume {id} is not attached; `envol status {id}` says what it is");
            Err(CliError::new(ExitStatus::NoSuchThing, message))
        }
        // The daemon ended before it answered: a volume that became terminal meanwhile is gone, and says why.
        Err(error) => match catalog::read_terminal(&paths) {
            Some(terminal) => Err(terminal.into()),
            None => Err(error.into()),
        },
    }
}
