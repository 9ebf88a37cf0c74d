//! Other commands of this very program, as a person would type them, with `--json`.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use super::error::DrillError;
use super::process::MARK;
use super::typed;
use crate::catalog::Root;

pub(super) struct ThisProgram {
    root: Root,
    drill_id: String,
}

/// How a command ended, and the one object that it printed.
#[derive(Debug)]
pub(super) struct Ran {
    /// 255 if a signal ended it.
    pub(super) code: u8,
    pub(super) object: Value,
    pub(super) stderr: String,
}

impl ThisProgram {
    pub(super) fn new(root: &Root, drill_id: &str) -> Self {
        Self { root: root.clone(), drill_id: drill_id.to_owned() }
    }

    /// Not in the foreground process group: Ctrl-C is for the drill, which lets it finish.
    pub(super) fn run<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Ran, DrillError> {
        let failed = |source: io::Error| DrillError::Io { action: "run this program again".to_owned(), source };
        let mut command = Command::new("/proc/self/exe");
        command.arg0("envol").arg("--root").arg(self.root.path()).arg("--json");
        command.args(arguments.iter().map(AsRef::as_ref));
        command.env(MARK, &self.drill_id).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let errors = thread::spawn(move || text(stderr));
        let stdout = text(stdout);
        let status = child.wait().map_err(failed)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
        let object = serde_json::from_str(stdout.lines().next().unwrap_or_default()).unwrap_or_default();
        Ok(Ran { code, object, stderr: errors.join().unwrap_or_default() })
    }

    /// As a person types it.
    pub(super) fn typed<S: AsRef<str>>(&self, arguments: &[S]) -> String {
        typed::envol(&self.root, arguments)
    }

    /// One that must succeed.
    pub(super) fn must<S: AsRef<str>>(&self, arguments: &[S]) -> Result<Value, DrillError> {
        let ran = self.run(arguments)?;
        if ran.code == 0 { Ok(ran.object) } else { Err(DrillError::Command { code: ran.code, message: ran.message() }) }
    }
}

impl Ran {
    pub(super) fn message(&self) -> String {
        self.object["error"].as_str().map_or_else(|| self.stderr.trim().to_owned(), str::to_owned)
    }
}

fn text(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
