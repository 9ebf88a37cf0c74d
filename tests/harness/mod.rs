//! A host of its own for each test: root directory, local KMS at an address of its own, and everything taken down again,
//! also when the test fails.
//!
//! The daemon under test is always another process, and a watchdog aborts its FUSE connection when a test takes too
//! long: whoever waits for it then gets an error instead of waiting for ever.

#![allow(dead_code, unreachable_pub, reason = "every test binary is a crate of its own and uses a part of it")]

pub mod client;
pub mod following;
pub mod hostile;
pub mod mariadb;
pub mod postgres;
pub mod scripted_kms;
pub mod seaweed;
pub mod snapshots;
pub mod tmpfs;
pub mod wire;
pub mod witness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub const ENVOL: &str = env!("CARGO_BIN_EXE_envol");

/// No step of any test takes this long on a busy machine.
const WATCHDOG: Duration = Duration::from_secs(240);

/// How often scripts/soak.sh wants a test to repeat what it repeats; `None`: as often as it does by itself.
pub fn soak_rounds() -> Option<usize> {
    std::env::var("ENVOL_SOAK_ROUNDS").ok().map(|rounds| rounds.parse().expect("ENVOL_SOAK_ROUNDS is a number"))
}

/// How many times as long each of these tests' deadlines is: scripts/guest.sh may have a processor that is only imitated.
fn patience() -> u32 {
    std::env::var("ENVOL_TEST_PATIENCE").map_or(1, |times| times.parse().expect("ENVOL_TEST_PATIENCE is a number"))
}

/// The uid and the gid.
const NOBODY: u32 = 65534;

/// One root directory with a local KMS, a key under `alias/test`, and the volumes that a test makes.
pub struct Host {
    root: TempDir,
    /// The program, where whoever runs it can reach it.
    envol: PathBuf,
    /// Whoever runs it is nobody.
    unprivileged: bool,
    /// Where nobody may open /dev/fuse, if they may not on the host itself.
    namespace: Option<Child>,
    environment: Vec<(String, String)>,
    kms: Mutex<Option<Child>>,
    directories: Mutex<Vec<PathBuf>>,
    done: Arc<AtomicBool>,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Below zero: the signal that ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Host {
    /// With the local KMS running.
    pub fn new() -> Self {
        let host = Self::start(false, None);
        host.start_watchdog();
        host
    }

    /// Without the watchdog: a bench takes as long as it was asked to.
    pub fn unwatched() -> Self {
        Self::start(false, None)
    }

    /// With the root directory that `archive` holds, local KMS and all.
    pub fn from_archive(archive: &Path) -> Self {
        let host = Self::start(false, Some(archive));
        host.start_watchdog();
        host
    }

    /// The same for a user without rights: every command runs as nobody, without a home or a login session.
    pub fn unprivileged() -> Self {
        let host = Self::start(true, None);
        host.start_watchdog();
        host
    }

    fn start(unprivileged: bool, archive: Option<&Path>) -> Self {
        // Others may pass through, to where a volume is mounted for them.
        let passable = fs::Permissions::from_mode(0o711);
        let root = tempfile::Builder::new().prefix("envol-test-").permissions(passable).tempdir();
        let root = root.expect("a temporary directory");
        if let Some(archive) = archive {
            let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(root.path()).status();
            assert!(unpacked.expect("tar").success(), "{} cannot be unpacked", archive.display());
        }
        let mut envol = PathBuf::from(ENVOL);
        if unprivileged {
            envol = root.path().join("envol");
            fs::hard_link(ENVOL, &envol).or_else(|_| fs::copy(ENVOL, &envol).map(drop)).expect("a copy of envol");
            std::os::unix::fs::chown(root.path(), Some(NOBODY), Some(NOBODY)).expect("root");
        }
        let mut host = Self {
            root,
            envol,
            unprivileged,
            namespace: unprivileged.then(open_fuse_namespace).flatten(),
            environment: Vec::new(),
            kms: Mutex::new(None),
            directories: Mutex::default(),
            done: Arc::default(),
        };
        let init = host.envol(&["kms", "init", "--listen", &free_address().to_string()]).expect_code(0);
        for line in init.stdout.lines() {
            let (name, value) = line.strip_prefix("export ").and_then(|line| line.split_once('=')).expect(line);
            host.environment.push((name.to_owned(), value.trim_matches('\'').to_owned()));
        }
        host.start_kms();
        if archive.is_none() {
            let key = host.aws(&["create-key", "--query", "KeyMetadata.KeyId", "--output", "text"]).expect_code(0);
            let alias = ["create-alias", "--alias-name", "alias/test", "--target-key-id", key.stdout.trim()];
            host.aws(&alias).expect_code(0);
        }
        host
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The variables that `kms init` told to export.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// One of them.
    #[track_caller]
    pub fn variable(&self, name: &str) -> &str {
        &self.environment.iter().find(|(known, _)| known == name).expect(name).1
    }

    /// Where the local KMS listens while it runs.
    pub fn kms_address(&self) -> SocketAddrV4 {
        let endpoint = self.variable("AWS_ENDPOINT_URL_KMS");
        endpoint.strip_prefix("http://").expect("HTTP").parse().expect("an address and a port")
    }

    pub fn start_kms(&self) {
        self.start_kms_as(self.command(&self.envol));
    }

    /// With a clock that is so much ahead (`+1h`, `-90` for seconds) of everybody else's.
    pub fn start_kms_at(&self, ahead: &str) {
        let mut command = self.command(&self.envol);
        Self::at(&mut command, ahead);
        self.start_kms_as(command);
    }

    /// This program under libfaketime, whose own command would stand between us and it.
    pub fn at<'a>(command: &'a mut Command, ahead: &str) -> &'a mut Command {
        let library = Command::new("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]).output();
        let library =
            ran(&library.expect("faketime is not installed; scripts/test.sh installs it")).expect_code(0).stdout;
        command.env("LD_PRELOAD", library.trim()).env("FAKETIME", ahead).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    fn start_kms_as(&self, mut command: Command) {
        let mut child = command
            .args(["--root", self.root_text(), "kms", "serve"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("envol kms serve");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut said = Vec::new();
        let listening = lines.by_ref().map_while(Result::ok).any(|line| {
            said.push(line);
            said.last().is_some_and(|line| line.contains("listens on"))
        });
        assert!(listening, "the local KMS ended before it listened: {said:?}");
        // Whatever it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        *self.kms.lock().expect("not poisoned") = Some(child);
    }

    /// SIGKILL: as an outage, and as a crash.
    pub fn stop_kms(&self) {
        if let Some(mut child) = self.kms.lock().expect("not poisoned").take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As `systemctl stop` does it.
    pub fn end_kms(&self) {
        if let Some(mut child) = self.kms.lock().expect("not poisoned").take() {
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM);
            let _ = child.wait();
        }
    }

    /// A command with this host's AWS variables, and none of whoever runs the tests.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program.as_ref());
        if self.unprivileged {
            command = Command::new("setpriv");
            if let Some(namespace) = &self.namespace {
                command = Command::new("nsenter");
                command.arg(format!("--mount=/proc/{}/ns/mnt", namespace.id())).args(["--", "setpriv"]);
            }
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
            command.env_remove("HOME").env_remove("XDG_RUNTIME_DIR").env_remove("XDG_DATA_HOME");
        }
        self.with_environment(command)
    }

    fn with_environment(&self, mut command: Command) -> Command {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    pub fn envol(&self, arguments: &[&str]) -> Ran {
        let mut command = self.command(&self.envol);
        command.args(["--root", self.root_text()]).args(arguments);
        ran(&command.output().expect("envol runs"))
    }

    /// `envol --json …`, which must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut with_json = vec!["--json"];
        with_json.extend(arguments);
        let ran = self.envol(&with_json).expect_code(0);
        serde_json::from_str(&ran.stdout).expect("one JSON object")
    }

    /// `aws kms …` as the administrator.
    pub fn aws(&self, arguments: &[&str]) -> Ran {
        let output = self.with_environment(Command::new("aws")).arg("kms").args(arguments).output();
        ran(&output.expect("the AWS CLI is not installed; scripts/test.sh installs it"))
    }

    /// The KMS key behind `alias/test`.
    pub fn key_id(&self) -> String {
        let described =
            self.aws(&["describe-key", "--key-id", "alias/test", "--query", "KeyMetadata.KeyId", "--output", "text"]);
        described.expect_code(0).stdout.trim().to_owned()
    }

    pub fn disable_key(&self) {
        self.aws(&["disable-key", "--key-id", &self.key_id()]).expect_code(0);
    }

    pub fn enable_key(&self) {
        self.aws(&["enable-key", "--key-id", &self.key_id()]).expect_code(0);
    }

    /// A volume under `alias/test`; its id.
    pub fn create(&self, arguments: &[&str]) -> String {
        let mut all = vec!["create", "--db-id", "db-TEST", "--kms-key", "alias/test"];
        all.extend(arguments);
        self.envol(&all).expect_code(0).stdout.trim().to_owned()
    }

    /// An empty directory to mount on, given back its permissions at the end.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        fs::create_dir_all(&path).expect("a directory");
        self.directories.lock().expect("not poisoned").push(path.clone());
        path
    }

    pub fn status(&self, volume: &str) -> Value {
        self.json(&["status", volume])
    }

    /// The daemon of an attached volume.
    pub fn daemon_pid(&self, volume: &str) -> i32 {
        let pid = self.status(volume)["pid"].as_i64().expect("attached");
        i32::try_from(pid).expect("a pid")
    }

    pub fn kill_daemon(&self, volume: &str) {
        let pid = rustix::process::Pid::from_raw(self.daemon_pid(volume)).expect("a pid");
        let daemon = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it lives");
        rustix::process::pidfd_send_signal(&daemon, rustix::process::Signal::KILL).expect("kill -9");
        let mut polled = [rustix::event::PollFd::new(&daemon, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut polled, None).expect("it ends");
    }

    /// The process that watches the daemon.
    pub fn companion_pid(&self, volume: &str) -> i32 {
        let daemon = self.daemon_pid(volume);
        let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children")).unwrap_or_default();
        let companion = children.split_whitespace().find(|child| {
            let name = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            name.starts_with(b"envol-companion")
        });
        companion.expect("a companion").parse().expect("a pid")
    }

    /// Both at once, as the memory killer might: nobody is left to clear up.
    pub fn kill_daemon_and_companion(&self, volume: &str) {
        let pids = [self.companion_pid(volume), self.daemon_pid(volume)];
        // Stopped first: it would start another.
        signal(pids[1], rustix::process::Signal::STOP);
        for pid in pids {
            signal(pid, rustix::process::Signal::KILL);
        }
        wait_until("their end", Duration::from_secs(10), || !pids.iter().any(|pid| is_alive(*pid)));
    }

    /// The file or device with the ciphertext.
    pub fn backing(&self, volume: &str) -> PathBuf {
        fs::canonicalize(self.root().join("volumes").join(volume).join("backing")).expect("an image")
    }

    /// The image file of an attached volume.
    pub fn image(&self, volume: &str) -> PathBuf {
        self.root().join("volumes").join(volume).join("attach/image")
    }

    /// Where the images of this host's volumes are mounted.
    pub fn runtime_dir(&self) -> PathBuf {
        if self.unprivileged { self.root().join("run") } else { PathBuf::from("/run/envol") }
    }

    fn root_text(&self) -> &str {
        self.root.path().to_str().expect("a temporary directory has a plain name")
    }

    fn start_watchdog(&self) {
        let (done, root, runtime) = (Arc::clone(&self.done), self.root.path().to_owned(), self.runtime_dir());
        std::thread::spawn(move || {
            let until = Instant::now() + WATCHDOG * patience();
            while !done.load(Ordering::Relaxed) {
                if Instant::now() > until {
                    eprintln!("watchdog: aborting the FUSE connections below {}", root.display());
                    volumes_below(&root).iter().for_each(|id| abort_connection(&runtime.join(id)));
                    return;
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        let failing = std::thread::panicking();
        for id in volumes_below(self.root.path()) {
            if failing {
                let log = fs::read_to_string(self.root().join("volumes").join(&id).join("daemon.log"));
                eprintln!("-- log of {id}:\n{}", log.unwrap_or_default());
            }
            let detached = self.envol(&["detach", &id, "--force"]);
            if detached.code != 0 {
                clear(&self.runtime_dir().join(&id));
            }
            let _ = self.envol(&["delete", &id, "--yes"]);
        }
        for directory in self.directories.lock().expect("not poisoned").iter() {
            let _ = Command::new("chattr").args(["-i"]).arg(directory).stderr(Stdio::null()).status();
            let _ = Command::new("chmod").args(["755"]).arg(directory).stderr(Stdio::null()).status();
        }
        self.stop_kms();
        if let Some(mut namespace) = self.namespace.take() {
            // It ends with its input.
            drop(namespace.stdin.take());
            let _ = namespace.wait();
        }
    }
}

impl Ran {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub fn expect_stdout(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "no {part:?} in: {}", self.stdout);
        self
    }

    #[track_caller]
    pub fn expect_stderr(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "no {part:?} in: {}", self.stderr);
        self
    }
}

pub fn ran(output: &Output) -> Ran {
    Ran {
        code: code_of(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, signal).expect("it lives");
}

/// Neither gone nor only waiting to be reaped.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z') && !state.starts_with('X'))
}

/// The exit code or, below zero, the signal.
fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|signal| -signal)).unwrap_or(i32::MIN)
}

/// What a file holds and where, without what is zero: whether that is a hole changes by itself.
pub fn data_of(path: &Path) -> Vec<(u64, Vec<u8>)> {
    const PIECE: usize = 4096;
    let file = fs::File::open(path).expect("a file");
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(start)).expect("the end at the latest");
        let mut bytes = vec![0; usize::try_from(at - start).expect("fits in memory")];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, start).expect("readable");
        let pieces = (start..at).step_by(PIECE).zip(bytes.chunks(PIECE));
        let kept = pieces.filter(|(_, piece)| piece.iter().any(|byte| *byte != 0));
        found.extend(kept.map(|(offset, piece)| (offset, piece.to_vec())));
    }
    found
}

/// Waits for a state, with a deadline.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut reached: impl FnMut() -> bool) {
    let deadline = deadline * patience();
    let until = Instant::now() + deadline;
    while !reached() {
        assert!(Instant::now() < until, "{what} did not happen within {deadline:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Where nobody listens until whoever asked for it does, as often as it likes: an address of this process alone, and a port below those that the
/// kernel chooses, which it gives to anybody's next connection.
pub fn free_address() -> SocketAddrV4 {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(10_000);
    let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
    // The network is 127.0.0.0/8, and a process id has 22 bits at most (proc(5), pid_max); 127.0.0.1 is that of init.
    SocketAddrV4::new(Ipv4Addr::from_bits(127 << 24 | std::process::id()), port)
}

/// udev lets everybody open /dev/fuse, and fusermount3 asks for no less. Where there is no udev, as in a container: a
/// mount namespace with such a device, which lasts as long as its process.
fn open_fuse_namespace() -> Option<Child> {
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata("/dev/fuse").expect("/dev/fuse"));
    if mode & 0o006 == 0o006 {
        return None;
    }
    // Volumes of other tests must not stay mounted in it when they are detached.
    let script = "while read -r _ _ _ _ at _; do case $at in *envol*) umount --lazy $at || true ;; esac; done \
                  < /proc/self/mountinfo; \
                  mount -t tmpfs tmpfs /mnt; mknod -m 666 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse; \
                  echo ready; exec cat";
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-ec", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let ready = BufReader::new(child.stdout.take().expect("piped")).lines().next();
    assert!(matches!(ready, Some(Ok(line)) if line == "ready"), "no mount namespace with a /dev/fuse for everybody");
    Some(child)
}

fn volumes_below(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join("volumes")).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("vol-"))
        .collect()
}

fn abort_connection(mount_point: &Path) {
    if let Ok(Some(connection)) = envol::host::fuse_connection::FuseConnection::at(mount_point) {
        let _ = connection.abort();
    }
}

/// What a test that failed, or a daemon that was killed, left of one volume.
fn clear(mount_point: &Path) {
    use envol::host::{ending, loop_device::LoopDevice, mounts, processes};
    abort_connection(mount_point);
    for device in LoopDevice::backed_by(&mount_point.join("image")).unwrap_or_default() {
        if let Ok(number) = device.device_number() {
            let holders = processes::holders_of(&[number]).unwrap_or_default();
            let _ = ending::end(&holders, Duration::ZERO, Duration::from_secs(5));
            for mount in mounts::Mounts::read().unwrap_or_default().of_device(number) {
                let _ = mounts::unmount_lazily(&mount.mount_point);
            }
        }
        let _ = device.clear();
    }
    if let Ok(Some(connection)) = envol::host::fuse_connection::FuseConnection::at(mount_point) {
        let _ = connection.unmount();
    }
    let _ = fs::remove_dir(mount_point);
}
