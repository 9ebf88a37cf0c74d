//! `envol snapshot …`: the way back after a revocation, and every other copy of a volume.

mod arguments;
mod clean;
mod copy;
mod create;
mod listing;
mod share;
mod source;
mod store;
mod verify;

pub(super) use arguments::{Snapshot, Store};
pub(super) use source::{Source, cancelled_by_signal};

use super::error::CliError;
use super::output::Output;
use crate::catalog::Root;

pub(super) fn run(root: &Root, verb: &Snapshot, output: &Output) -> Result<(), CliError> {
    match verb {
        Snapshot::Create(verb) => create::run(root, verb, output),
        Snapshot::List(verb) => listing::list(root, verb, output),
        Snapshot::Show(verb) => listing::show(root, verb, output),
        Snapshot::Copy(verb) => copy::run(root, verb, output),
        Snapshot::Share(verb) => share::run(root, verb, output),
        Snapshot::Verify(verb) => verify::run(root, verb, output),
        Snapshot::Delete(verb) => clean::delete(root, verb, output),
        Snapshot::Prune(verb) => clean::prune(root, verb, output),
        Snapshot::Gc(verb) => clean::gc(root, verb, output),
    }
}
