//! `envol bench`: what this machine can do.

mod cipher;
mod requests;
mod throughput;
mod volume;

use super::arguments::Bench;
use super::error::CliError;
use super::output::Output;
use crate::catalog::Root;

pub(super) fn run(root: &Root, verb: &Bench, output: &Output) -> Result<(), CliError> {
    match verb {
        Bench::Cipher { path } => cipher::run(*path, output),
        Bench::Volume { volume } => volume::run(root, volume, output),
    }
}
