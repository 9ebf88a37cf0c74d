//! `envol bench`: what this machine can do.

mod cipher;
mod throughput;

use super::arguments::Bench;
use super::error::CliError;
use super::output::Output;

pub(super) fn run(verb: &Bench, output: &Output) -> Result<(), CliError> {
    match verb {
        Bench::Cipher { path } => cipher::run(*path, output),
    }
}
