//! A command that goes on until it is interrupted, and what it prints meanwhile.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// What comes is seen long before, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Ended when dropped.
pub struct Following {
    process: Child,
    lines: Receiver<String>,
}

impl Following {
    pub fn start(command: &mut Command) -> Self {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut process = spawned.expect("the command runs");
        let stdout = BufReader::new(process.stdout.take().expect("piped"));
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { process, lines }
    }

    #[track_caller]
    pub fn next(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("no other line came")
    }

    /// The next line that contains `part`.
    #[track_caller]
    pub fn expect(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no {part:?} came"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// As Ctrl-C does; exit code and stderr.
    pub fn interrupt(mut self) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.process), Signal::INT).expect("it lives");
        let mut stderr = String::new();
        self.process.stderr.take().expect("piped").read_to_string(&mut stderr).expect("readable");
        (self.process.wait().expect("it ran").code(), stderr)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
