//! What a person types: one verb a file, text or JSON out, one exit code for each kind of answer.

mod arguments;
mod attach;
mod bench;
mod check;
mod create;
mod delete;
mod detach;
mod error;
mod exit_code;
mod inspect;
#[cfg(feature = "local-kms")]
mod kms;
mod list;
mod output;
mod quantity;
mod status;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Verb};
use error::CliError;
use output::Output;

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // clap's own exit codes: 0 for --help and --version, 2 for what makes no sense.
        Err(error) => error.exit(),
    };
    start_logging(arguments.verbose);
    let output = Output { json: arguments.json };
    match dispatch(&arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.failure(&error),
    }
}

fn dispatch(arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    let root = crate::catalog::Root::new(arguments.root.as_deref())?;
    match &arguments.verb {
        Verb::Create(verb) => create::run(&root, verb, output),
        Verb::Attach(verb) => attach::run(&root, verb, arguments, output),
        Verb::Detach(verb) => detach::run(&root, verb, output),
        Verb::List => list::run(&root, output),
        Verb::Status(verb) => status::run(&root, verb, output),
        Verb::Check(verb) => check::run(&root, verb, output),
        Verb::Delete(verb) => delete::run(&root, verb, output),
        Verb::Inspect(verb) => inspect::run(&root, verb, output),
        Verb::Bench(verb) => bench::run(verb, output),
        #[cfg(feature = "local-kms")]
        Verb::Kms(verb) => kms::run(&root, verb, output),
    }
}

/// Logs go to stderr: warnings, more with `-v`, or as `RUST_LOG` says. Only our own crates log more: what the AWS SDK
/// says at its finest includes the bodies of requests.
fn start_logging(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let ours = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,envol={ours},kms_client={ours},local_kms={ours}")));
    tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_writer(std::io::stderr).init();
}
