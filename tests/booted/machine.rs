//! A machine of its own to boot: the systemd of this host as the first process of its own namespaces, on a tree that is
//! this host's root directory with another laid over it. What it writes stays from one boot to the next.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{ENVOL, Ran, ran, wait_until};

const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// For what takes a second or two on a quiet host.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Of this host's own files, as a package installs them.
const INSTALLED: [(&str, &str, u32); 4] = [
    (ENVOL, "usr/bin/envol", 0o755),
    ("packaging/mount.envol", "usr/sbin/mount.envol", 0o755),
    ("packaging/systemd/envol@.service", "usr/lib/systemd/system/envol@.service", 0o644),
    ("packaging/systemd/envol-kms.service", "usr/lib/systemd/system/envol-kms.service", 0o644),
];

pub struct Machine {
    tree: TempDir,
    cgroup: PathBuf,
    running: Option<Running>,
}

struct Running {
    /// Ends with the machine.
    unshare: Child,
    /// The machine's first process, as this host counts.
    systemd: u32,
}

impl Machine {
    /// Not booted yet.
    pub fn new() -> Self {
        for needed in ["/lib/systemd/systemd", "/dev/fuse", "/dev/loop-control"] {
            assert!(Path::new(needed).exists(), "there is no {needed}; scripts/test.sh says what a host needs");
        }
        let tree = TempDir::with_prefix("envol-booted-").expect("a temporary directory");
        let upper = tree.path().join("upper");
        for (source, target, mode) in INSTALLED {
            let target = upper.join(target);
            fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
            fs::copy(Path::new(REPOSITORY).join(source), &target).expect(source);
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).expect("permissions");
        }
        for directory in ["etc", "var/log/journal"] {
            fs::create_dir_all(upper.join(directory)).expect("a folder");
        }
        fs::write(upper.join("etc/fstab"), "").expect("fstab");
        let cgroup = cgroup2().join(tree.path().file_name().expect("a name"));
        Self { tree, cgroup, running: None }
    }

    /// A file of the machine, by its path there; before or between boots.
    pub fn laid_over(&self, path: &str) -> PathBuf {
        self.tree.path().join("upper").join(path.trim_start_matches('/'))
    }

    /// Returns when systemd takes commands; the boot goes on.
    pub fn boot(&mut self) {
        let said = File::create(self.tree.path().join("said")).expect("a log");
        let script = Path::new(REPOSITORY).join("tests/booted/boot.sh");
        let mut unshare = Command::new(script)
            .args([self.tree.path(), &self.cgroup])
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a log"))
            .stderr(said)
            .spawn()
            .expect("boot.sh");
        // Until it is systemd it is still the script.
        let is_systemd =
            |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "systemd");
        wait_until("the start of systemd", DEADLINE, || {
            let ended = unshare.try_wait().expect("a child");
            assert!(ended.is_none(), "this host cannot boot a systemd in namespaces: {}", self.said());
            child_of(unshare.id()).as_ref().is_some_and(is_systemd)
        });
        let systemd = child_of(unshare.id()).expect("it has just been there");
        self.running = Some(Running { unshare, systemd });
        wait_until("systemd's first answer", DEADLINE, || {
            let state = self.sh("systemctl is-system-running").stdout;
            ["starting", "running", "degraded"].contains(&state.trim_end())
        });
    }

    /// A command line in the machine, as root.
    pub fn sh(&self, script: &str) -> Ran {
        let running = self.running.as_ref().expect("booted");
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", running.systemd));
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "sh", "-c", script]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/root");
        ran(&command.env("LC_ALL", "C").stdin(Stdio::null()).output().expect("nsenter"))
    }

    /// What it prints; it must succeed.
    #[track_caller]
    pub fn expect(&self, script: &str) -> String {
        let ran = self.sh(script);
        assert_eq!(ran.code, 0, "{script}\nstdout: {}\nstderr: {}", ran.stdout, ran.stderr);
        ran.stdout.trim_end().to_owned()
    }

    /// A property of a unit.
    #[track_caller]
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.expect(&format!("systemctl show --value --property={property} {unit}"))
    }

    #[track_caller]
    pub fn wait_for_state(&self, unit: &str, state: &str) {
        wait_until(&format!("{unit} being {state}"), DEADLINE, || self.show(unit, "ActiveState") == state);
    }

    /// `systemctl poweroff` or `reboot`; how long it took until the last process was gone.
    #[track_caller]
    pub fn end_by(&mut self, verb: &str) -> Duration {
        let since = Instant::now();
        self.expect(&format!("systemctl {verb}"));
        let mut running = self.running.take().expect("booted");
        let ended = || matches!(running.unshare.try_wait(), Ok(Some(_)));
        wait_until("the end of the machine", DEADLINE, ended);
        since.elapsed()
    }

    /// What systemd and the units said, oldest first, over all boots so far.
    pub fn journal(&self) -> String {
        let directory = format!("--directory={}", self.laid_over("/var/log/journal").display());
        let output = Command::new("journalctl").args([&directory, "--no-pager", "--output=short-iso-precise"]).output();
        ran(&output.expect("journalctl")).stdout
    }

    fn said(&self) -> String {
        fs::read_to_string(self.tree.path().join("said")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // With it goes the first process, and with that all of them.
            let _ = running.unshare.kill();
            let _ = running.unshare.wait();
        }
        if std::thread::panicking() {
            let journal = self.journal();
            let lines: Vec<&str> = journal.lines().collect();
            eprintln!("-- end of the machine's journal:\n{}", lines[lines.len().saturating_sub(150)..].join("\n"));
        }
        // The directories that volumes were mounted on are immutable.
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(self.laid_over("/srv")).status();
        wait_until("the end of all processes of the machine", DEADLINE, || {
            let _ = Command::new("find").arg(&self.cgroup).args(["-depth", "-type", "d", "-delete"]).output();
            !self.cgroup.exists()
        });
    }
}

fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Where this host has its unified hierarchy of control groups.
fn cgroup2() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc");
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let mount = mount.expect("cgroup2 is not mounted on this host (mount -t cgroup2 cgroup2 DIR): systemd needs it");
    mount.split(' ').nth(1).expect("a mount point").into()
}
