//! `envol kms`: the local KMS.

mod arguments;
mod audit;
mod fault;
mod principal;
mod simulate;

use local_kms::{AuditFilter, InitOptions, ServeOptions};

pub(super) use arguments::{Fault, Principal, Simulate, parse_pair};

use super::arguments::Kms;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::interruption::interrupted;
use super::output::Output;
use crate::catalog::Root;

pub(super) fn run(root: &Root, verb: &Kms, output: &Output) -> Result<(), CliError> {
    match verb {
        Kms::Principal(verb) => principal::run(root, verb, output),
        Kms::Simulate(verb) => simulate::run(root, verb, output),
        Kms::Fault(verb) => fault::run(root, verb, output),
        Kms::Init { listen, region } => {
            let options = InitOptions { listen: *listen, region: region.clone() };
            let init = local_kms::init(&root.kms(), &options)
                .map_err(|error| failed(ExitStatus::of_kms_init(&error), &error))?;
            for line in init.export_lines() {
                println!("{line}");
            }
            Ok(())
        }
        Kms::Serve { listen, allow_remote } => {
            let options = ServeOptions { listen: *listen, allow_remote: *allow_remote };
            let runtime = tokio::runtime::Runtime::new().map_err(|error| failed(ExitStatus::Unexpected, &error))?;
            let listening = |address| eprintln!("envol: the local KMS listens on http://{address}");
            let served = runtime.block_on(local_kms::serve(&root.kms(), options, interrupted(), listening));
            served.map_err(|error| failed(ExitStatus::of_kms_serve(&error), &error))
        }
        Kms::Audit { follow, key, context } => {
            let filter = AuditFilter { key: key.clone(), context: context.clone() };
            audit::run(&root.kms(), &filter, *follow, output)
        }
    }
}

/// With its causes, which the messages of these errors leave to their sources.
fn failed(status: ExitStatus, error: &dyn std::error::Error) -> CliError {
    let causes = std::iter::successors(Some(error), |error| error.source());
    CliError::new(status, causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
}
