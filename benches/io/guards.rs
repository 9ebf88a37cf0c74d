//! What is started and mounted, and taken down again when it is dropped, also when the bench fails.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use envol::host::loop_device::LoopDevice;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Host, ran};

const DEADLINE: Duration = Duration::from_secs(20);

/// A program that serves until it is told to end.
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(command: &mut Command) -> Self {
        // Ctrl-C is for the bench alone.
        let child = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let until = Instant::now() + DEADLINE;
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A mount point that something is mounted on, or is going to be.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // In good order first: what is dirty goes down before whoever is below does.
        if rustix::mount::unmount(&self.0, UnmountFlags::empty()).is_err() {
            let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
        }
    }
}

/// A loop device with 4096-byte sectors.
pub(crate) enum Loop {
    Direct(LoopDevice),
    /// Through the page cache of the file below.
    Buffered(PathBuf),
}

impl Loop {
    pub(crate) fn direct(image: &Path) -> Self {
        Self::Direct(LoopDevice::attach(image).unwrap())
    }

    pub(crate) fn buffered(image: &Path) -> Self {
        let options = ["--find", "--show", "--direct-io=off", "--sector-size=4096", "--"];
        let device = run(Command::new("losetup").args(options).arg(image));
        Self::Buffered(device.trim().into())
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Direct(device) => device.path(),
            Self::Buffered(path) => path.clone(),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(self.path()).status();
    }
}

/// A volume of envol that is attached.
pub(crate) struct Attached<'a> {
    pub(crate) host: &'a Host,
    pub(crate) volume: String,
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        let _ = self.host.envol(&["detach", &self.volume, "--force"]);
        let _ = self.host.envol(&["delete", &self.volume, "--yes"]);
    }
}

/// A command that must succeed; what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output =
        command.process_group(0).stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    ran(&output).stdout
}
