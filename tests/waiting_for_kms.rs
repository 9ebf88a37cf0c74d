//! `attach --wait-for-kms`: an outage is waited for, a refusal is not, and nothing is held meanwhile.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use harness::{ENVOL, Host, wait_until};
use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(60);

/// The daemon, once it has said that it waits.
fn waiting_daemon(host: &Host, volume: &str) -> Child {
    let mut daemon = host
        .command(ENVOL)
        .args(["--root", host.root().to_str().unwrap(), "attach", "--foreground", "--raw", "--wait-for-kms", volume])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("waiting for KMS")), "it ended before it waited");
    // Whatever it says later must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    daemon
}

#[test]
fn a_volume_is_attached_when_kms_comes() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.stop_kms();
    // The control: it is an outage.
    host.envol(&["attach", "--raw", &volume]).expect_code(5);
    let mut daemon = waiting_daemon(&host, &volume);
    assert_eq!(host.status(&volume)["state"], "available");
    // Nobody holds the image.
    host.envol(&["check", &volume]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(3);
    host.start_kms();
    wait_until("the volume in use", DEADLINE, || host.status(&volume)["state"] == "in-use");
    host.envol(&["detach", &volume]).expect_code(0);
    assert!(daemon.wait().unwrap().success());
}

#[test]
fn waiting_ends_at_its_limit_and_with_a_signal() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.stop_kms();
    let since = Instant::now();
    host.envol(&["attach", "--raw", "--wait-for-kms=2s", &volume]).expect_code(5).expect_stderr("no answer from");
    assert!(since.elapsed() >= Duration::from_secs(2), "{:?}", since.elapsed());

    let mut daemon = waiting_daemon(&host, &volume);
    kill_process(Pid::from_child(&daemon), Signal::TERM).unwrap();
    assert_eq!(daemon.wait().unwrap().signal(), Some(Signal::TERM.as_raw()));
    host.start_kms();
    host.envol(&["attach", "--raw", &volume]).expect_code(0);
}

#[test]
fn a_refusal_is_an_answer() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.disable_key();
    host.envol(&["attach", "--raw", "--wait-for-kms", &volume]).expect_code(4).expect_stderr("is disabled");
    host.enable_key();
    host.envol(&["attach", "--raw", "--wait-for-kms", &volume]).expect_code(0);
}
