//! `envol kms`: the local KMS.

use local_kms::{InitOptions, ServeOptions};

use super::arguments::Kms;
use super::error::CliError;
use super::exit_code::ExitStatus;
use crate::catalog::Root;

pub(super) fn run(root: &Root, verb: &Kms) -> Result<(), CliError> {
    match verb {
        Kms::Init { listen, region } => {
            let options = InitOptions { listen: *listen, region: region.clone() };
            let init = local_kms::init(&root.kms(), &options).map_err(|error| failed(&error))?;
            for line in init.export_lines() {
                println!("{line}");
            }
            Ok(())
        }
        Kms::Serve { listen, allow_remote } => {
            let options = ServeOptions { listen: *listen, allow_remote: *allow_remote };
            let runtime = tokio::runtime::Runtime::new().map_err(|error| failed(&error))?;
            let listening = |address| eprintln!("envol: the local KMS listens on http://{address}");
            let served = runtime.block_on(local_kms::serve(&root.kms(), options, interrupted(), listening));
            served.map_err(|error| failed(&error))
        }
    }
}

async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

fn failed(error: &dyn std::error::Error) -> CliError {
    CliError::new(ExitStatus::Unexpected, error.to_string())
}
