//! An attached volume with something on it, its revocation, and the look whether anything of it is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::harness::{Host, is_alive, wait_until};

/// From the acknowledged revocation until all is gone: one probe, the purge, and a busy machine.
pub(crate) const GONE_DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Scene {
    pub(crate) host: Host,
    pub(crate) volume: String,
    pub(crate) dir: PathBuf,
    pub(crate) daemon: i32,
    device: Option<String>,
}

/// A process of the test, ended with it.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// `script` prints a line when it is as far as the test needs it.
    pub(crate) fn python(script: &str, arguments: &[&Path]) -> Self {
        let mut command = Command::new("python3");
        Self::ready(command.args(["-c", script]).args(arguments))
    }

    pub(crate) fn ready(command: &mut Command) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next();
        assert!(matches!(line, Some(Ok(line)) if line == "ready"), "it did not get ready");
        Self(child)
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    pub(crate) fn is_alive(&self) -> bool {
        is_alive(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(&[], &[])
    }

    pub(crate) fn with(create: &[&str], attach: &[&str]) -> Self {
        let host = Host::new();
        let volume = host.create(&[&["--size", "512MiB"], create].concat());
        let dir = host.directory("mnt");
        let mut arguments = vec!["attach", &volume];
        if !attach.contains(&"--raw") {
            arguments.push(dir.to_str().unwrap());
        }
        arguments.extend(["--probe-interval", "1s"]);
        arguments.extend(attach);
        host.envol(&arguments).expect_code(0);
        let daemon = host.daemon_pid(&volume);
        let device = host.status(&volume)["device"].as_str().map(str::to_owned);
        Self { host, volume, dir, daemon, device }
    }

    /// A file on the volume, in the page cache.
    pub(crate) fn cached_file(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, b"in the page cache".repeat(4096)).unwrap();
        fs::File::open(&path).unwrap().sync_all().unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 17 * 4096);
        path
    }

    /// Revokes, and returns when the daemon is gone.
    pub(crate) fn revoke(&self) {
        self.host.disable_key();
        self.wait_for_the_end();
    }

    pub(crate) fn wait_for_the_end(&self) {
        wait_until("the daemon's end", GONE_DEADLINE, || !is_alive(self.daemon));
        assert_eq!(self.host.status(&self.volume)["state"], "terminal");
    }

    /// All that the kernel still has of the volume, by its own tables.
    pub(crate) fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let shown = [self.volume.as_str(), self.dir.to_str().unwrap()];
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let namespace = fs::read_link(process.path().join("ns/mnt"));
            if namespace.is_ok_and(|name| seen.insert(name)) {
                let table = fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default();
                let found = table.lines().filter(|line| shown.iter().any(|part| line.contains(part)));
                traces.extend(found.map(|line| format!("{}: {line}", process.path().display())));
            }
        }
        for block in fs::read_dir("/sys/block").unwrap().flatten() {
            let backing = fs::read_to_string(block.path().join("loop/backing_file")).unwrap_or_default();
            traces.extend(shown.iter().any(|part| backing.contains(part)).then(|| backing.trim().to_owned()));
        }
        let runtime = fs::read_dir("/run/envol").into_iter().flatten().flatten();
        let names = runtime.filter_map(|entry| entry.file_name().into_string().ok());
        traces.extend(names.filter(|name| name.contains(&self.volume)));
        traces
    }

    #[track_caller]
    pub(crate) fn is_gone_without_trace(&self) {
        assert_eq!(self.traces(), Vec::<String>::new());
        let blocked = blocked_processes();
        assert!(blocked.is_empty(), "in D state: {blocked:?}");
        if let Some(device) = &self.device {
            assert!(!self.holds_loop(device), "{device} still has it");
        }
    }

    /// Whether the loop device still shows this volume: by now another test may have it.
    fn holds_loop(&self, device: &str) -> bool {
        let name = Path::new(device).file_name().unwrap();
        let backing = fs::read_to_string(Path::new("/sys/block").join(name).join("loop/backing_file"));
        backing.is_ok_and(|backing| backing.contains(&self.volume))
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.host.root().join("volumes").join(&self.volume).join("daemon.log")).unwrap_or_default()
    }
}

/// Processes that wait inside the kernel, and still do a while later.
fn blocked_processes() -> Vec<String> {
    let now = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let stats = processes.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
        let blocked = stats.filter(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('D')));
        blocked.map(|stat| stat.split(" (").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let began = Instant::now();
    let mut blocked = now();
    while !blocked.is_empty() && began.elapsed() < Duration::from_secs(5) {
        let again = now();
        blocked.retain(|pid| again.contains(pid));
        std::thread::sleep(Duration::from_millis(50));
    }
    blocked
}

/// A file system of its own for an image, unmounted at the end.
pub(crate) struct SmallDisk(tempfile::TempDir);

pub(crate) fn small_disk(size_bytes: u64) -> SmallDisk {
    let disk = SmallDisk(tempfile::tempdir().unwrap());
    let (image, dir) = (disk.0.path().join("disk"), disk.path());
    fs::File::create(&image).unwrap().set_len(size_bytes).unwrap();
    fs::create_dir(&dir).unwrap();
    for command in [vec!["mkfs.ext4", "-q"], vec!["mount", "-o", "loop"]] {
        let mut program = Command::new(command[0]);
        program.args(&command[1..]).arg(&image);
        if command[0] == "mount" {
            program.arg(&dir);
        }
        assert!(program.status().unwrap().success());
    }
    disk
}

impl SmallDisk {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("mounted")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
