//! What a daemon logs while it serves: nothing, and of an outage a line when it begins and one when it ends, however often KMS is
//! asked. That it says so again each minute is held by `src/revocation/tests/log.rs`, on a clock that can be moved on.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::{Host, signal, wait_until};
use rustix::process::Signal;

const DEADLINE: Duration = Duration::from_secs(60);

fn log(host: &Host, volume: &str) -> Vec<String> {
    let path = host.root().join("volumes").join(volume).join("daemon.log");
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// Waits for so many answers of this kind more.
fn answered(host: &Host, volume: &str, answer: &str, more: u64) {
    let count = || host.status(volume)["probes"]["answers"][answer].as_u64().unwrap();
    let before = count();
    wait_until(answer, DEADLINE, || count() >= before + more);
}

#[test]
fn a_healthy_volume_logs_nothing_and_an_outage_two_lines() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "50ms"]).expect_code(0);
    answered(&host, &volume, "ok", 1);
    let attached = log(&host, &volume);
    assert!(!attached.is_empty(), "attaching is logged");
    answered(&host, &volume, "ok", 50);
    assert_eq!(log(&host, &volume), attached);

    host.stop_kms();
    answered(&host, &volume, "unreachable", 20);
    let away = log(&host, &volume);
    assert_eq!(away.len(), attached.len() + 1, "{away:#?}");
    assert!(away.last().unwrap().contains("KMS does not confirm the key"), "{away:#?}");
    host.start_kms();
    answered(&host, &volume, "ok", 20);
    let back = log(&host, &volume);
    assert_eq!(back.len(), away.len() + 1, "{back:#?}");
    assert!(back.last().unwrap().contains("confirms the key"), "{back:#?}");
}

/// A directory where a file should be.
struct InTheWay<'a>(&'a Path);

impl<'a> InTheWay<'a> {
    fn at(path: &'a Path) -> Self {
        fs::create_dir(path).unwrap();
        Self(path)
    }
}

impl Drop for InTheWay<'_> {
    fn drop(&mut self) {
        fs::remove_dir(self.0).unwrap();
    }
}

#[test]
fn a_companion_that_cannot_start_is_told_of_once_and_not_each_second() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "50ms"]).expect_code(0);
    let (daemon, companion) = (host.daemon_pid(&volume), host.companion_pid(&volume));
    let lock = host.runtime_dir().join(format!("{volume}.companion"));
    assert!(lock.is_file());
    let lines = |part: &str| log(&host, &volume).iter().filter(|line| line.contains(part)).count();

    // Stopped first: it would start another before that has nothing to lock.
    signal(daemon, Signal::STOP);
    signal(companion, Signal::KILL);
    fs::remove_file(&lock).unwrap();
    let in_the_way = InTheWay::at(&lock);
    signal(daemon, Signal::CONT);
    wait_until("what is said of it", DEADLINE, || lines("no companion watches this daemon") > 0);
    // It is tried again each second meanwhile.
    answered(&host, &volume, "ok", 60);
    assert_eq!(lines("no companion watches this daemon"), 1);

    drop(in_the_way);
    wait_until("another companion", DEADLINE, || lines("a companion watches this daemon again") == 1);
    assert!(lock.is_file());
}

#[test]
fn each_probe_has_a_line_for_who_asks_for_everything() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["-vv", "attach", &volume, "--raw", "--probe-interval", "50ms"]).expect_code(0);
    let lines = || log(&host, &volume).iter().filter(|line| line.contains("probe: ok in ")).count();
    wait_until("the lines of probes", DEADLINE, || lines() >= 5);
}
