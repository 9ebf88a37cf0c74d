//! What a person types: one verb a file, text or JSON out, one exit code for each kind of answer.

mod arguments;
mod attach;
mod bench;
mod check;
mod completion;
mod confirmation;
mod create;
mod delete;
mod detach;
mod drill;
mod error;
mod events;
mod exit_code;
mod header;
mod inspect;
mod interruption;
#[cfg(feature = "local-kms")]
mod kms;
mod list;
mod logging;
mod output;
mod progress;
pub mod quantity;
mod resize;
mod rewrap;
mod snapshot;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use arguments::{Arguments, Verb};
use error::CliError;
use output::Output;

/// The command line with its help, of which the man pages are made.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Parses the command line and does what it says.
pub fn run() -> ExitCode {
    if let Some(answered) = completion::answer_a_shell() {
        return answered;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // clap's own exit codes: 0 for --help and --version, 2 for what makes no sense.
        Err(error) => error.exit(),
    };
    logging::start(arguments.verbose);
    let output = Output { json: arguments.json };
    match dispatch(&arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.failure(&error),
    }
}

fn dispatch(arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    let root = crate::catalog::Root::new(arguments.root.as_deref())?;
    if leaves_no_drill_behind(&arguments.verb) {
        crate::drill::finish_interrupted(&root, &mut |warning| output.warning(warning));
    }
    match &arguments.verb {
        Verb::Create(verb) => create::run(&root, verb, output),
        Verb::Attach(verb) => attach::run(&root, verb, arguments, output),
        Verb::Detach(verb) => detach::run(&root, verb, output),
        Verb::List => list::run(&root, output),
        Verb::Status(verb) => status::run(&root, verb, output),
        Verb::Events(verb) => events::run(&root, verb, output),
        Verb::Check(verb) => check::run(&root, verb, output),
        Verb::Rewrap(verb) => rewrap::run(&root, verb, output),
        Verb::Header(verb) => header::run(&root, verb, output),
        Verb::Resize(verb) => resize::run(&root, verb, output),
        Verb::Delete(verb) => delete::run(&root, verb, output),
        Verb::Snapshot(verb) => snapshot::run(&root, verb, output),
        Verb::Drill(verb) => drill::run(&root, verb, output),
        Verb::Inspect(verb) => inspect::run(&root, verb, output),
        Verb::Bench(verb) => bench::run(&root, verb, output),
        #[cfg(feature = "local-kms")]
        Verb::Kms(verb) => kms::run(&root, verb, output),
    }
}

/// The next command that looks at volumes finishes what an interrupted drill left. Without one that is one directory
/// that is not there.
fn leaves_no_drill_behind(verb: &Verb) -> bool {
    matches!(verb, Verb::Create(_) | Verb::Attach(_) | Verb::Detach(_) | Verb::List | Verb::Status(_) | Verb::Delete(_))
}
