//! `envol delete`: asks first.

use std::io::{self, BufRead, IsTerminal, Write};

use serde_json::json;

use super::arguments::Delete;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{self, Root};
use crate::daemon;

pub(super) fn run(root: &Root, verb: &Delete, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    let id = &verb.volume;
    if !verb.yes {
        confirm(&format!("Destroy volume {id} and everything on it? Type yes: "))?;
    }
    daemon::clear_leftovers(&paths, false)?;
    if let Some(standing) = catalog::delete(root, &paths)? {
        output.warning(&format!("volume {id} is deleted, but its {standing}"));
    }
    output.print(&format!("volume {id} is deleted"), &json!({ "volume_id": id, "state": "deleted" }))
}

fn confirm(question: &str) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("nobody is there to ask; say --yes to delete"));
    }
    let mut answer = String::new();
    eprint!("{question}");
    let asked = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err(CliError::new(ExitStatus::Unexpected, "nothing was deleted")),
    }
}
