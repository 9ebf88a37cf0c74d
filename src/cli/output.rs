//! Text for people, one JSON object for programs.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;
use serde_json::json;

use super::error::CliError;

pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    /// Prints `text` for people, or `object` for programs.
    pub(super) fn print(&self, text: &str, object: &impl Serialize) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        let written = if self.json {
            serde_json::to_writer(&mut out, object).map_err(io::Error::from).and_then(|()| writeln!(out))
        } else {
            writeln!(out, "{}", text.trim_end())
        };
        printed(written.and_then(|()| out.flush()))
    }

    pub(super) fn failure(&self, error: &CliError) -> ExitCode {
        if self.json && !error.printed {
            // Nobody may be there to read it; the exit code says the same.
            let _ = writeln!(io::stdout(), "{}", json!({ "error": error.message, "exit_code": error.code }));
        }
        let _ = writeln!(io::stderr(), "envol: {}", error.message);
        ExitCode::from(error.code)
    }

    /// On stderr, also beside JSON.
    pub(super) fn warning(&self, message: &str) {
        let _ = writeln!(io::stderr(), "envol: warning: {message}");
    }

    /// What belongs beside the result, for a person.
    pub(super) fn note(&self, message: &str) {
        let _ = writeln!(io::stderr(), "envol: {message}");
    }

    /// What is going on, for a person who waits.
    pub(super) fn progress(&self, message: &str) {
        if !self.json && io::stderr().is_terminal() {
            eprintln!("envol: {message}");
        }
    }
}

/// A closed pipe is the reader's choice.
pub(super) fn printed(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::new(super::exit_code::ExitStatus::Unexpected, format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}
