//! What an attached volume costs its host, and that nothing of it stays behind.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use harness::{Host, wait_until};

const MIB: usize = 1 << 20;

/// VmRSS of a process, from proc_pid_status(5).
fn resident_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn an_idle_daemon_is_under_64_mib_resident() {
    let host = Host::new();
    let volume = host.create(&["--size", "2GiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let pid = host.daemon_pid(&volume);

    let mut written = File::create(dir.join("large")).unwrap();
    for mebibyte in 0..=255 {
        written.write_all(&vec![mebibyte; MIB]).unwrap();
    }
    written.sync_all().unwrap();
    // Else the kernel would answer the reads from its own memory.
    rustix::fs::fadvise(&written, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let mut read = File::open(dir.join("large")).unwrap();
    let mut buffer = vec![0; MIB];
    for mebibyte in 0..=255 {
        read.read_exact(&mut buffer).unwrap();
        assert!(buffer.iter().all(|byte| *byte == mebibyte));
    }

    let resident = resident_kib(pid);
    println!("{resident} KiB resident");
    assert!(resident < 64 * 1024, "{resident} KiB");
}

#[test]
fn questions_leave_no_file_open_in_the_daemon() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "200ms"]).expect_code(0);
    let pid = host.daemon_pid(&volume);
    // The connection to KMS stays open once it is made.
    let verified_at = host.status(&volume)["verified_at"].clone();
    wait_until("a probe", Duration::from_secs(10), || host.status(&volume)["verified_at"] != verified_at);
    let before = open_files(pid);
    for _ in 0..50 {
        host.status(&volume);
        host.envol(&["attach", &volume, "--raw"]).expect_code(8);
    }
    // The daemon may still be closing the last connection.
    wait_until("as many open files as before", Duration::from_secs(10), || open_files(pid) <= before);
}

#[test]
fn attaching_and_detaching_leaves_nothing_on_the_host() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    for _ in 0..20 {
        host.envol(&["attach", &volume, dir_text]).expect_code(0);
        let pid = host.daemon_pid(&volume);
        // The control: while it is attached there is something to find.
        let device = host.status(&volume)["device"].as_str().unwrap().to_owned();
        assert_eq!(traces(&volume).len(), 6, "{:?}", traces(&volume));
        host.envol(&["detach", &volume]).expect_code(0);
        assert_eq!(traces(&volume), Vec::<String>::new());
        let name = Path::new(&device).file_name().unwrap().to_str().unwrap();
        wait_until("the end of the daemon", Duration::from_secs(10), || !Path::new(&format!("/proc/{pid}")).exists());
        let shown = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).unwrap_or_default();
        assert!(!shown.contains(&volume), "{device} still shows {shown}");
    }
}

/// Mounts, loop devices and runtime files of one volume: only its own, others may come and go meanwhile.
fn traces(volume: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut traces: Vec<String> = mounts.lines().filter(|line| line.contains(volume)).map(str::to_owned).collect();
    for device in fs::read_dir("/sys/block").unwrap().flatten() {
        let shown = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        traces.extend(shown.contains(volume).then(|| shown.trim_end().to_owned()));
    }
    let runtime = fs::read_dir("/run/envol").into_iter().flatten().flatten();
    traces
        .extend(runtime.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.contains(volume)));
    traces
}
