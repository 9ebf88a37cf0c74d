//! A connection to a database that stays: a client program, a statement and its answer at a time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

pub struct Client {
    program: Child,
    statements: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    /// `command` reads statements on its stdin, prints each answer at once and without headings, and ends at the first error.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut program = command.spawn().expect("setpriv runs");
        let (statements, answers) = (program.stdin.take().expect("piped"), program.stdout.take().expect("piped"));
        Self { program, statements, answers: BufReader::new(answers) }
    }

    /// The one line that the last of these statements answers, once all of them are done; None when one failed or the
    /// connection is gone, and then nothing is known of them.
    pub fn ask(&mut self, statements: &str) -> Option<String> {
        writeln!(self.statements, "{statements}").ok()?;
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
