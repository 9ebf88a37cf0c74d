//! `envol delete`: asks first.

use serde_json::json;

use super::arguments::Delete;
use super::confirmation::confirm_deletion;
use super::error::CliError;
use super::output::Output;
use crate::catalog::{self, Root};
use crate::daemon;

pub(super) fn run(root: &Root, verb: &Delete, output: &Output) -> Result<(), CliError> {
    let id = &verb.volume;
    let paths = root.existing(id);
    // One that a command was making when it was cut short.
    let unfinished = if paths.is_err() { catalog::unfinished(root, id) } else { None };
    let paths = unfinished.clone().map_or(paths, Ok)?;
    if !verb.yes {
        confirm_deletion(&format!("Destroy volume {id} and everything on it?"))?;
    }
    let standing = if unfinished.is_some() {
        catalog::delete_unfinished(root, &paths)?
    } else {
        daemon::clear_leftovers(&paths, false)?;
        catalog::delete(root, &paths)?
    };
    for standing in standing {
        output.warning(&format!("volume {id} is deleted, but its {standing}"));
    }
    output.print(&format!("volume {id} is deleted"), &json!({ "volume_id": id, "state": "deleted" }))
}
