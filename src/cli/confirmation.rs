//! A question before something that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use super::error::CliError;
use super::exit_code::ExitStatus;

/// Asks whoever sits at the terminal; where nobody does, `--yes` has to be said.
pub(super) fn confirm_deletion(question: &str) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("nobody is there to ask; say --yes to delete"));
    }
    if is_answered(&format!("{question} Type yes: "), "yes") {
        return Ok(());
    }
    Err(CliError::new(ExitStatus::Unexpected, "nothing was deleted"))
}

/// Whether the answer is to the letter what was expected.
pub(super) fn is_answered(question: &str, expected: &str) -> bool {
    let mut answer = String::new();
    eprint!("{question}");
    let read = io::stderr().flush().and_then(|()| io::stdin().lock().read_line(&mut answer));
    read.is_ok() && answer.trim() == expected
}
