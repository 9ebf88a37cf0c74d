//! The processes of a drill: each known by pid and start time, and all by a variable in their environment.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::host::{ProcessName, ending};

/// In the environment of whatever a drill starts: its id.
pub(super) const MARK: &str = "ENVOL_DRILL";

/// An `envol` command in the middle of something is let finish, so that nothing half made has to be found.
const COMMAND_PATIENCE: Duration = Duration::from_secs(60);

/// From SIGKILL until it is gone: longer, and it waits inside the kernel.
const KILL_WAIT: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(20);

fn wait_for_end(process: ProcessName, until: Instant) -> bool {
    while process.is_alive() {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(POLL);
    }
    true
}

/// What is still running of a drill, as far as it is to be ended: not the volume's daemon, which is detached.
/// Returns what could not be ended.
pub(super) fn end_all(drill_id: &str) -> Vec<String> {
    let mark = format!("{MARK}={drill_id}");
    let mut left = Vec::new();
    let until = Instant::now() + COMMAND_PATIENCE;
    for (process, arguments) in marked(&mark) {
        match role(&arguments) {
            Role::Daemon => continue,
            Role::Command if wait_for_end(process, until) => continue,
            Role::Command | Role::Workload => {}
        }
        if !ending::kill(process, KILL_WAIT) {
            left.push(format!("process {} ({})", process.pid, arguments.first().map_or("?", String::as_str)));
        }
    }
    left
}

fn marked(mark: &str) -> Vec<(ProcessName, Vec<String>)> {
    let pids = fs::read_dir("/proc").into_iter().flatten();
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let others = pids.filter(|pid| *pid != std::process::id());
    others
        .filter_map(|pid| {
            let process = ProcessName::of(pid)?;
            let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
            let is_ours = environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes());
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let arguments = arguments.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned());
            is_ours.then(|| (process, arguments.collect()))
        })
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// Serves the volume, or helps the one that does.
    Daemon,
    /// A command with an end of its own.
    Command,
    Workload,
}

fn role(arguments: &[String]) -> Role {
    let program = arguments.first().map(|path| Path::new(path).file_name().unwrap_or_default());
    let is = |name: &str| program == Some(OsStr::from_bytes(name.as_bytes()));
    let says = |word: &str| arguments.iter().any(|argument| argument == word);
    if is("envol") && !says("--foreground") && ["create", "attach", "detach", "delete"].into_iter().any(says) {
        Role::Command
    } else if program.is_some_and(|name| name.as_bytes().starts_with(b"envol")) && !is(super::observer::NAME) {
        Role::Daemon
    } else {
        Role::Workload
    }
}

/// A program as the user of a database, without a terminal, in a process group of its own: Ctrl-C is for the drill.
pub(super) fn as_user(user: &str, program: &Path, drill_id: &str) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).args(["--init-groups", "--"]).arg(program);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C").env(MARK, drill_id);
    command.current_dir("/").stdin(std::process::Stdio::null()).process_group(0);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_drill_started_is_told_apart() {
        let role = |line: &str| role(&line.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(role("envol --root /r --json create --id vol-1"), Role::Command);
        assert_eq!(role("envol --root /r attach --foreground vol-1"), Role::Daemon);
        assert_eq!(role("envol-unwrap"), Role::Daemon);
        assert_eq!(role("envol-drill-observer {}"), Role::Workload);
        assert_eq!(role("/usr/lib/postgresql/17/bin/postgres -D /create"), Role::Workload);
    }
}
