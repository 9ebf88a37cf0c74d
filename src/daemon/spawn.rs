//! Starts a daemon that outlives this command, and waits until it is ready or has said why not.
//!
//! The daemon is this same program, told to stay in the foreground; it reports as it would to systemd
//! (<https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>), only that we listen.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::error::DaemonError;
use super::readiness::{FAILURE_KEY, WARNING_KEY};
use crate::catalog::VolumePaths;

/// How a daemon that was started turned out.
pub enum Started {
    Ready {
        pid: u32,
        warnings: Vec<String>,
    },
    /// It ended before it was ready. `message` is its own account; empty if it could not give one.
    Ended {
        status: ExitStatus,
        message: String,
    },
}

/// `arguments` must make this program run the daemon in the foreground. `progress` is called with what it says
/// meanwhile.
pub fn spawn_detached(
    arguments: &[std::ffi::OsString],
    paths: &mut VolumePaths,
    mut progress: impl FnMut(&str),
) -> Result<Started, DaemonError> {
    paths.make_runtime_dir()?;
    let address = paths.runtime().join(format!("{}.{}.notify", paths.id(), std::process::id()));
    // Of an interrupted command whose pid this one has now.
    let _ = fs::remove_file(&address);
    let socket = UnixDatagram::bind(&address).map_err(DaemonError::io("make a socket to hear from the daemon"))?;
    let result = start(arguments, paths, &address)
        .and_then(|child| wait(child, &socket, &mut progress).map_err(DaemonError::io("hear from the daemon")));
    // Nothing else would ever use it; a leftover is only a name.
    let _ = fs::remove_file(&address);
    result
}

fn start(
    arguments: &[std::ffi::OsString],
    paths: &VolumePaths,
    notify: &std::path::Path,
) -> Result<Child, DaemonError> {
    let log = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(paths.log())
        .map_err(DaemonError::io("open its log"))?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("envol")
        .args(arguments)
        .env("NOTIFY_SOCKET", notify)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().map_err(DaemonError::io("start the daemon"))
}

fn wait(mut child: Child, socket: &UnixDatagram, progress: &mut impl FnMut(&str)) -> io::Result<Started> {
    socket.set_nonblocking(true)?;
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let mut message = String::new();
    let mut warnings = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let mut polled = [PollFd::new(socket, PollFlags::IN), PollFd::new(&process, PollFlags::IN)];
        match poll(&mut polled, None) {
            Err(Errno::INTR) => continue,
            polled => polled?,
        };
        // Asked before the socket is read: by then its last words are there.
        let ended = !polled[1].revents().is_empty();
        loop {
            let len = match socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            for line in String::from_utf8_lossy(&buffer[..len]).lines() {
                if line == "READY=1" {
                    return Ok(Started::Ready { pid: child.id(), warnings });
                }
                if let Some(status) = line.strip_prefix("STATUS=") {
                    progress(status);
                }
                if let Some(warning) = line.strip_prefix(WARNING_KEY) {
                    warnings.push(warning.to_owned());
                }
                if let Some(failure) = line.strip_prefix(FAILURE_KEY) {
                    failure.clone_into(&mut message);
                }
            }
        }
        if ended {
            return Ok(Started::Ended { status: child.wait()?, message });
        }
    }
}
