//! A hook that is a program: the event as JSON on its stdin, the gist in its environment.

use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::super::event::Event;

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// The daemon is the last that the kernel kills when memory runs out; what it starts for others is not.
const SCRIPT: &str = r#"{ echo 0 > /proc/self/oom_score_adj; } 2> /dev/null; exec /bin/sh -c "$1""#;

/// Returns when it has ended, or was ended after `deadline` with all that it started. Ends it when dropped.
pub(super) async fn run(command: &str, event: &Event, deadline: Duration) -> Result<(), String> {
    let mut json = serde_json::to_vec(event).map_err(|error| error.to_string())?;
    // A line, so that `cat >> FILE` makes a file of lines.
    json.push(b'\n');
    let mut child = start(command, event).map_err(|error| format!("cannot start /bin/sh: {error}"))?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    match tokio::time::timeout(deadline, finish(&mut child, &json)).await {
        Ok(Ok(status)) => {
            // What it left in the background is its own business, and its number may be another's now.
            group.0 = None;
            if status.success() { Ok(()) } else { Err(format!("{command}: {status}")) }
        }
        Ok(Err(error)) => Err(format!("{command}: {error}")),
        Err(_) => Err(format!("{command}: killed after {deadline:?}")),
    }
}

fn start(command: &str, event: &Event) -> std::io::Result<Child> {
    // stdout is for answers of `envol`, of which the hook is no part.
    let stderr = || std::io::stderr().as_fd().try_clone_to_owned().map(Stdio::from);
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "sh", command])
        .env_remove("NOTIFY_SOCKET")
        .env("ENVOL_EVENT", event.kind.as_str())
        .env("ENVOL_VOLUME_ID", event.volume_id.as_str())
        .env("ENVOL_STATE", event.state.as_str())
        .env("ENVOL_CAUSE", event.cause.as_deref().unwrap_or_default())
        .env("ENVOL_RDS_STATUS", event.rds_status().unwrap_or_default())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(stderr()?)
        .stderr(stderr()?)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn finish(child: &mut Child, json: &[u8]) -> std::io::Result<std::process::ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // It need not read.
        let _ = stdin.write_all(json).await;
    }
    child.wait().await
}

/// Killed when dropped, while its leader has not been waited for.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}
