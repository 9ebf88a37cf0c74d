//! A disk that fails once, a process that has no descriptors left, memory that is short: what is said then, and what is still true afterwards.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::snapshots::{image, noise};
use harness::tmpfs::Tmpfs;
use harness::{Host, ran, wait_until};

const MIB: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// A block device that has no room for all that it says to have.
struct ThinDevice {
    path: PathBuf,
    below: Tmpfs,
}

impl ThinDevice {
    fn new(host: &Host, len_bytes: u64, room: &str) -> Self {
        let below = Tmpfs::mount(host.directory("thin"), room);
        let file = below.0.join("device");
        File::create(&file).unwrap().set_len(len_bytes).unwrap();
        let made = Command::new("losetup").args(["--find", "--show", "--sector-size", "4096"]).arg(&file).output();
        Self { path: ran(&made.unwrap()).expect_code(0).stdout.trim().into(), below }
    }
}

impl Drop for ThinDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// The kernel tells of a failed write-back once; the next fsync of the same descriptor succeeds over data that is gone.
#[test]
fn after_one_failed_sync_nothing_succeeds_until_the_next_attach_which_tells_the_truth() {
    let host = Host::new();
    let device = ThinDevice::new(&host, 128 * MIB, "48m");
    // The control: to whoever believes it, this disk fails once.
    let bare = OpenOptions::new().read(true).write(true).open(&device.path).unwrap();
    bare.write_all_at(&noise(1, 64 << 20), 0).unwrap();
    bare.sync_all().unwrap_err();
    device.below.grow("96m");
    bare.sync_all().unwrap();
    ran(&Command::new("fallocate")
        .args(["--punch-hole", "--offset", "0", "--length", "128MiB"])
        .arg(&device.path)
        .output()
        .unwrap())
    .expect_code(0);
    bare.sync_all().unwrap();
    drop(bare);
    device.below.grow("48m");

    let volume = host.create(&["--size", "64MiB", "--backing", device.path.to_str().unwrap()]);
    host.envol(&["attach", &volume, "--raw", "--cache", "writeback"]).expect_code(0);
    let shown = image(&host, &volume);
    let (kept, lost) = (noise(2, 4 << 20), noise(3, 56 << 20));
    shown.write_all_at(&kept, 0).unwrap();
    shown.sync_all().unwrap();
    let failed = shown.write_all_at(&lost, 4 * MIB).and_then(|()| shown.sync_all());
    failed.unwrap_err();

    device.below.grow("96m");
    shown.sync_all().unwrap_err();
    shown.write_all_at(&kept, 0).unwrap_err();
    shown.read_exact_at(&mut [0; 4096], 0).unwrap_err();
    drop(shown);
    let failed = host.status(&volume);
    assert_eq!(failed["state"], "error", "{failed}");
    host.envol(&["detach", &volume]).expect_code(1).expect_stderr("lost");

    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let shown = image(&host, &volume);
    let mut found = vec![0; kept.len()];
    shown.read_exact_at(&mut found, 0).unwrap();
    assert!(found == kept, "what was acknowledged is there");
    // What was not: each block as it was before, or as it was written.
    let mut found = vec![0; lost.len()];
    shown.read_exact_at(&mut found, 4 * MIB).unwrap();
    let blocks = found.chunks(4096).zip(lost.chunks(4096));
    assert!(blocks.into_iter().all(|(found, written)| found == written || found.iter().all(|byte| *byte == 0)));
    shown.write_all_at(&lost, 4 * MIB).unwrap();
    shown.sync_all().unwrap();
    drop(shown);
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
}

/// Past the page cache the answer may come before the disk's. Nobody who asks for a sync hears of success then.
#[test]
fn a_write_that_fails_after_its_answer_is_told_to_whoever_asks_for_a_sync() {
    let host = Host::new();
    let device = ThinDevice::new(&host, 128 * MIB, "48m");
    let volume = host.create(&["--size", "16MiB", "--backing", device.path.to_str().unwrap()]);
    host.envol(&["attach", &volume, "--raw", "--cache", "none"]).expect_code(0);
    let shown = image(&host, &volume);
    shown.write_all_at(&noise(1, 1 << 20), 0).unwrap();
    shown.sync_all().unwrap();
    shown.write_all_at(&noise(2, 4096), 0).unwrap();
    shown.sync_all().expect("the control: there is room");

    // What was written loses its room, and somebody else takes it.
    let below = device.below.0.join("device");
    let mut punch = Command::new("fallocate");
    punch.args(["--punch-hole", "--offset", "32MiB", "--length", "96MiB"]).arg(&below);
    ran(&punch.output().unwrap()).expect_code(0);
    let mut filler = File::create(device.below.0.join("filler")).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}

    // Whether it is told here depends on which is first, the answer or the disk.
    let _ = shown.write_all_at(&noise(3, 4096), 0);
    shown.sync_all().unwrap_err();
    shown.sync_all().unwrap_err();
    shown.write_all_at(&noise(4, 4096), 0).unwrap_err();
    drop(shown);
    assert_eq!(host.status(&volume)["state"], "error");
    host.envol(&["detach", &volume]).expect_code(1).expect_stderr("lost");
}

fn limit_open_files(pid: i32, limit: &str) {
    let limited = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={limit}")]).status();
    assert!(limited.unwrap().success());
}

#[test]
fn a_daemon_without_a_descriptor_to_spare_serves_and_watches_again_once_it_has_some() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "200ms"]).expect_code(0);
    let daemon = host.daemon_pid(&volume);
    let shown = image(&host, &volume);
    let first = host.status(&volume)["verified_at"].clone();
    wait_until("a probe", DEADLINE, || host.status(&volume)["verified_at"] != first);
    limit_open_files(daemon, "3:1024");
    // A new connection to KMS takes a descriptor.
    host.stop_kms();
    host.start_kms();
    // No command gets an answer, and none waits for ever.
    let silent = host.status(&volume);
    assert!(silent["pid"].is_null(), "the control: it has no descriptor for the answer: {silent}");
    host.envol(&["detach", &volume]).expect_code(8).expect_stderr("does not answer").expect_stderr("--force");
    for round in 0..20 {
        shown.write_all_at(&noise(round, 4096), 4096 * round).unwrap();
        shown.sync_all().unwrap();
    }
    limit_open_files(daemon, "1024:1024");
    wait_until("an answer", DEADLINE, || host.status(&volume)["pid"] == daemon);
    let before = host.status(&volume)["verified_at"].clone();
    wait_until("a probe", DEADLINE, || host.status(&volume)["verified_at"] != before);
    assert_eq!(host.status(&volume)["state"], "in-use");
    let mut found = [0; 4096];
    shown.read_exact_at(&mut found, 4096 * 7).unwrap();
    assert!(found[..] == noise(7, 4096));
    drop(shown);
    host.envol(&["detach", &volume]).expect_code(0);
}

/// A group of processes with so much memory, page cache included.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `None`: this host gives us none to make.
    fn new(name: &str, memory_bytes: u64) -> Option<Self> {
        let (parent, limit) = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            true => ("/sys/fs/cgroup", "memory.max"),
            false => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        };
        let group = Self(Path::new(parent).join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(limit), memory_bytes.to_string()).ok()?;
        Some(group)
    }

    fn add(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let parent = self.0.parent().unwrap().join("cgroup.procs");
        for pid in fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = fs::write(&parent, pid);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

/// The writer's dirty pages fill the group, and they only go away through the daemon, which needs memory in the same group for that. Where
/// the kernel lets it mark itself as one that writes back, and where groups are of the second version, it gets it.
#[test]
fn a_writer_that_fills_the_small_cgroup_of_the_daemon_goes_on_or_the_next_command_frees_both() {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let daemon = u32::try_from(host.daemon_pid(&volume)).unwrap();
    let name = format!("envol-test-{}", std::process::id());
    let group = Cgroup::new(&name, 128 * MIB).expect("a memory cgroup");
    group.add(daemon);
    let mut writer = Command::new("sh");
    let script = "read go && exec dd if=/dev/zero of=\"$0\" bs=1M count=600 conv=fsync status=none";
    let mut writer = writer.arg("-c").arg(script).arg(dir.join("large")).stdin(Stdio::piped()).spawn().unwrap();
    group.add(writer.id());
    writer.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut ended = || writer.try_wait().unwrap().is_some();
    let until = Instant::now() + Duration::from_secs(20);
    while !ended() && Instant::now() < until {
        thread::sleep(Duration::from_millis(50));
    }
    // Of a daemon that waits for memory some threads may do so and others not, the one that answers among them.
    if !ended() {
        let refused = host.envol(&["detach", &volume]).expect_code(8).expect_stderr("--force");
        assert!(["does not answer", "dd"].iter().any(|why| refused.stderr.contains(why)), "{}", refused.stderr);
        host.envol(&["detach", "--force", &volume]).expect_code(0);
        wait_until("the writer's end", DEADLINE, &mut ended);
    } else {
        assert_eq!(fs::metadata(dir.join("large")).unwrap().len(), 600 * MIB);
        host.envol(&["detach", &volume]).expect_code(0);
    }
    drop(group);
    // Whatever became of it, it is whole.
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    fs::write(dir.join("after"), b"it serves").unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
}
