//! Runs other programs: whatever may wait on a mount or a device of ours happens in a child with a deadline.

use std::env;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::error::{Context, HostError};

/// Looked through before `PATH`, which lacks the sbin directories for most users.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What it is called in every process of it, also when its file has been replaced.
pub(super) const THIS_PROGRAM: &str = "/proc/self/exe";

/// What is kept of each output; the rest is read and dropped, so that the child never waits for us.
const KEPT_BYTES: usize = 64 * 1024;

/// How long a killed child may take to be gone. It takes longer only when it waits inside the kernel.
const KILL_WAIT: Duration = Duration::from_millis(500);

/// A program about to be run: no input, outputs captured, its own process group, no environment but `PATH` and `LC_ALL=C`.
#[derive(Debug)]
pub struct Tool {
    program: String,
    command: Command,
    deadline: Duration,
}

/// A program that ended by itself.
#[derive(Debug)]
pub struct Finished {
    program: String,
    status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Tool {
    /// # Errors
    /// [`HostError::Missing`] if no such program is installed.
    pub fn new(program: &str, deadline: Duration) -> Result<Self, HostError> {
        let path = find(program)
            .ok_or_else(|| HostError::Missing { program: program.to_owned(), package: package_of(program) })?;
        Ok(Self::at(program, &path, deadline))
    }

    /// This very program, or a copy of it, to run as the helper that `name`, its `argv[0]`, says.
    pub(super) fn program_as(program: &Path, name: &str, deadline: Duration) -> Self {
        let mut tool = Self::at(name, program, deadline);
        tool.command.arg0(name);
        tool
    }

    fn at(program: &str, path: &Path, deadline: Duration) -> Self {
        let mut command = Command::new(path);
        command
            .env_clear()
            .env("PATH", DIRECTORIES.join(":"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Self { program: program.to_owned(), command, deadline }
    }

    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Runs the program, which must succeed, and returns what it wrote on stdout.
    ///
    /// # Errors
    /// Those of [`Tool::finish`], and [`HostError::Failed`] for any exit code but 0.
    pub fn run(self) -> Result<String, HostError> {
        let finished = self.finish()?;
        if finished.status.success() { Ok(finished.stdout) } else { Err(finished.into_error()) }
    }

    /// Runs the program to its end, whatever it says then.
    ///
    /// # Errors
    /// [`HostError::TimedOut`], [`HostError::Io`] if it cannot be started.
    pub fn finish(mut self) -> Result<Finished, HostError> {
        let mut child = self.command.spawn().context(|| format!("cannot start {}", self.program))?;
        let result = self.watch(&mut child);
        if result.is_err() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            // One that waits inside the kernel is left to a thread, so that it does not stay a zombie; without a thread it does.
            let _ = thread::Builder::new().spawn(move || child.wait());
        }
        result
    }

    /// Starts the program with a pipe as its input, and leaves all else to the caller. What it writes on stderr is dropped.
    ///
    /// # Errors
    /// [`HostError::Io`] if it cannot be started.
    pub(super) fn start(mut self) -> Result<Child, HostError> {
        self.command.stdin(Stdio::piped()).stderr(Stdio::null());
        self.command.spawn().context(|| format!("cannot start {}", self.program))
    }

    fn watch(&self, child: &mut Child) -> Result<Finished, HostError> {
        let watching = || format!("cannot watch {}", self.program);
        let pid = Pid::from_child(child);
        let process = pidfd_open(pid, PidfdFlags::empty()).context(watching)?;
        let mut outputs = [
            Capture::new(child.stdout.take().map(OwnedFd::from)),
            Capture::new(child.stderr.take().map(OwnedFd::from)),
        ];
        if follow(&process, &mut outputs, self.deadline).context(watching)? {
            let status = child.wait().context(watching)?;
            let [stdout, stderr] = outputs.map(Capture::text);
            return Ok(Finished { program: self.program.clone(), status, stdout, stderr });
        }
        let _ = kill_process_group(pid, Signal::KILL);
        let gone = follow(&process, &mut outputs, KILL_WAIT).context(watching)?;
        Err(HostError::TimedOut { program: self.program.clone(), after: self.deadline, still_running: !gone })
    }
}

impl Finished {
    /// The exit code; none if a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    #[must_use]
    pub fn into_error(self) -> HostError {
        let status = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        };
        let stderr = if self.stderr.is_empty() { "it did not say why".to_owned() } else { self.stderr };
        HostError::Failed { program: self.program, status, stderr }
    }
}

/// One output of a child, of which the beginning is kept.
struct Capture {
    pipe: Option<std::fs::File>,
    kept: Vec<u8>,
}

impl Capture {
    fn new(pipe: Option<OwnedFd>) -> Self {
        Self { pipe: pipe.map(Into::into), kept: Vec::new() }
    }

    /// Reads once, which does not wait when `poll` has said so.
    fn read(&mut self) {
        let mut buffer = [0; 8192];
        match self.pipe.as_mut().map(|pipe| pipe.read(&mut buffer)) {
            Some(Ok(len @ 1..)) => {
                let room = KEPT_BYTES.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(&buffer[..len.min(room)]);
            }
            _ => self.pipe = None,
        }
    }

    fn text(self) -> String {
        String::from_utf8_lossy(&self.kept).trim_end().to_owned()
    }
}

/// Reads the outputs until the process has ended, and then what is left in them: a grandchild may hold them open for ever.
/// Returns false if the process has not ended in time.
fn follow(process: &OwnedFd, outputs: &mut [Capture], deadline: Duration) -> Result<bool, Errno> {
    let until = Instant::now() + deadline;
    let mut ended = false;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = Timespec::try_from(if ended { Duration::ZERO } else { left }).map_err(|_| Errno::INVAL)?;
        let open = outputs.iter().filter_map(|output| output.pipe.as_ref());
        let mut polled = vec![PollFd::new(process, PollFlags::IN)];
        polled.extend(open.map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut polled, Some(&wait)) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        let open = outputs.iter_mut().filter(|output| output.pipe.is_some());
        open.zip(&ready[1..]).filter(|(_, ready)| **ready).for_each(|(output, _)| output.read());

        let more_output = ready[1..].contains(&true);
        if (ended && !more_output) || left.is_zero() {
            return Ok(ended || ready[0]);
        }
        ended |= ready[0];
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = DIRECTORIES.iter().map(PathBuf::from).chain(env::split_paths(&path));
    directories.map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

/// The Debian package of a program that this product runs.
fn package_of(program: &str) -> &'static str {
    match program {
        "mkfs.ext4" | "resize2fs" | "e2fsck" => "e2fsprogs",
        "mkfs.xfs" => "xfsprogs",
        "losetup" | "mount" | "umount" => "mount",
        "blkid" | "blockdev" => "util-linux",
        "fusermount3" => "fuse3",
        "tail" | "head" | "touch" => "coreutils",
        _ => "of that name",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Duration = Duration::from_secs(20);

    fn shell(script: &str, deadline: Duration) -> Tool {
        Tool::new("sh", deadline).unwrap().args(["-c", script])
    }

    #[test]
    fn output_is_captured_and_stdin_is_empty() {
        assert_eq!(shell("cat; echo out; echo err >&2", SECONDS).run().unwrap(), "out");
        assert_eq!(shell("echo err >&2", SECONDS).finish().unwrap().stderr, "err");
    }

    #[test]
    fn only_the_beginning_of_a_long_output_is_kept_and_the_child_is_not_held_up() {
        let kept = shell("head -c 10000000 /dev/zero | tr '\\0' x", SECONDS).run().unwrap();
        assert_eq!(kept.len(), KEPT_BYTES);
    }

    #[test]
    fn the_environment_is_not_passed_on() {
        let variables = shell("env", SECONDS).run().unwrap();
        assert!(variables.contains("LC_ALL=C"), "{variables}");
        assert!(
            env::var_os("CARGO_MANIFEST_DIR").is_some() && !variables.contains("CARGO_MANIFEST_DIR"),
            "{variables}"
        );
    }

    #[test]
    fn a_failure_says_its_exit_code_and_why() {
        let error = shell("echo no such thing >&2; exit 3", SECONDS).run().unwrap_err();
        assert_eq!(error.to_string(), "sh failed (exit code 3): no such thing");
        let error = shell("kill -9 $$", SECONDS).run().unwrap_err();
        assert_eq!(error.to_string(), "sh failed (signal 9): it did not say why");
    }

    #[test]
    fn a_child_that_does_not_end_is_killed_with_its_children() {
        let pipe = tempfile::tempdir().unwrap();
        let file = pipe.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let error = shell(&script, Duration::from_secs(1)).run().unwrap_err();
        assert!(matches!(error, HostError::TimedOut { still_running: false, .. }), "{error}");

        let sleeper = std::fs::read_to_string(file).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", sleeper.trim()));
        // The signal is sent; on a busy machine it takes a while until it is followed.
        let deadline = Instant::now() + SECONDS;
        while state().is_ok_and(|state| !state.contains(") Z ")) {
            assert!(Instant::now() < deadline, "the grandchild lives on");
            thread::yield_now();
        }
    }

    #[test]
    fn a_grandchild_that_keeps_the_output_open_is_not_waited_for() {
        let started = Instant::now();
        let out = shell("sleep 15 & echo done", SECONDS).run().unwrap();
        assert_eq!(out, "done");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn this_program_is_run_again() {
        let tests = Tool::program_as(Path::new(THIS_PROGRAM), "envol-test", SECONDS)
            .args(["--list", "this_program_is_run_again"])
            .run()
            .unwrap();
        assert!(tests.contains("tools::tests::this_program_is_run_again"), "{tests}");
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = Tool::new("mkfs.nothing", SECONDS).unwrap_err();
        assert!(matches!(error, HostError::Missing { .. }), "{error}");
        assert_eq!(package_of("mkfs.xfs"), "xfsprogs");
    }
}
