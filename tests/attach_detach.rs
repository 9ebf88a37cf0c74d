//! A volume is connected to this host and taken away again, and what was written is there the next time.

mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use harness::{Host, wait_until};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify;

#[test]
fn a_file_written_through_the_mount_is_there_after_attaching_again() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();

    host.envol(&["attach", &volume, dir_text, "--owner", "nobody"]).expect_code(0);
    assert_eq!(fs::metadata(&dir).unwrap().uid(), 65534);
    fs::write(dir.join("greeting"), b"marker-4711-in-the-clear").unwrap();
    let status = host.status(&volume);
    assert_eq!(status["state"], "in-use");
    assert_eq!(status["mount_point"], dir_text);
    assert_eq!(status["unverified_s"], 0);

    host.envol(&["detach", &volume]).expect_code(0);
    assert_eq!(host.status(&volume)["state"], "available");
    assert!(!dir.join("greeting").exists());

    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    assert_eq!(fs::read(dir.join("greeting")).unwrap(), b"marker-4711-in-the-clear");
    host.envol(&["detach", &volume]).expect_code(0);

    // Not in the image, the header or any log; the control was the read above.
    let found = Command::new("grep").args(["-r", "-l", "-a", "marker-4711"]).arg(host.root()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn a_second_attach_says_who_has_the_volume() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let pid = host.daemon_pid(&volume);
    host.envol(&["attach", &volume, "--raw"]).expect_code(8).expect_stderr(&format!("pid {pid}"));
    host.envol(&["delete", &volume, "--yes"]).expect_code(8);
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
}

#[test]
fn ps_and_top_show_the_daemon_and_its_companion_by_their_names() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let daemon = host.daemon_pid(&volume);
    let name = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    assert_eq!(name(&daemon.to_string()), "envol\n");
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children")).unwrap();
    assert!(children.split_whitespace().any(|child| name(child) == "envol-companion\n"), "{children}");
}

#[test]
fn a_busy_volume_is_not_detached_and_its_holders_are_named() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let mut holder = Command::new("sleep").arg("300").current_dir(&dir).spawn().unwrap();
    host.envol(&["detach", &volume]).expect_code(8).expect_stderr(&format!("sleep (pid {})", holder.id()));
    assert_eq!(host.status(&volume)["state"], "in-use");
    fs::write(dir.join("still"), b"served").unwrap();
    host.envol(&["detach", &volume, "--force"]).expect_code(0);
    assert!(!holder.wait().unwrap().success());
}

#[test]
fn a_volume_mounted_in_another_namespace_is_not_detached_until_it_is_unmounted_there() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    // It keeps this mount alone: other tests detach their volumes meanwhile.
    const SEER: &str = r#"while read -r _ _ _ _ at _; do
        case $at in "$1") ;; *envol*) umount --lazy "$at" ;; esac
    done < /proc/self/mountinfo
    exec sleep 300"#;
    let mut elsewhere = Command::new("unshare").args(["--mount", "sh", "-c", SEER, "sh"]).arg(&dir).spawn().unwrap();
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    let seer = elsewhere.id().to_string();
    wait_until("a mount namespace", Duration::from_secs(10), || namespace(&seer) != namespace("self"));
    let refused = host.envol(&["detach", &volume]);
    let still_served = host.status(&volume);
    elsewhere.kill().unwrap();
    elsewhere.wait().unwrap();
    refused.expect_code(8).expect_stderr("mount namespace of").expect_stderr(&format!("(pid {seer})"));
    assert_eq!(still_served["state"], "in-use");
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn the_bare_directory_lets_nobody_write_while_the_volume_is_away() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    fs::write(dir.join("on-the-volume"), b"yes").unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    let refused = fs::write(dir.join("beneath"), b"no");
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0);
    // Deleting the volume makes it an ordinary directory again.
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    fs::write(dir.join("beneath"), b"yes").unwrap();
}

#[test]
fn a_killed_daemon_and_companion_are_cleared_by_the_next_attach() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    fs::write(dir.join("synced"), b"kept").unwrap();
    fs::File::open(dir.join("synced")).unwrap().sync_all().unwrap();
    let mut holder = Command::new("sleep").arg("300").current_dir(&dir).spawn().unwrap();
    host.kill_daemon_and_companion(&volume);
    assert!(holder.try_wait().unwrap().is_none(), "the control: nobody has cleared up yet");
    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    assert!(!holder.wait().unwrap().success());
    assert_eq!(fs::read(dir.join("synced")).unwrap(), b"kept");
    host.envol(&["detach", &volume]).expect_code(0);
}

/// The lock of a killed daemon goes with its last thread, which may be waiting for the disk.
#[test]
fn an_image_that_somebody_who_does_not_answer_holds_is_waited_for() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let backing = host.backing(&volume);
    let held = fs::File::open(&backing).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    host.envol(&["attach", &volume, "--raw"]).expect_code(8).expect_stderr("its image is locked");

    let opened = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&opened, &backing, inotify::WatchFlags::OPEN).unwrap();
    let mut attach = host.command(harness::ENVOL);
    let mut attach = attach.arg("--root").arg(host.root()).args(["attach", &volume, "--raw"]).spawn().unwrap();
    // One attempt may be that of the command, which only looks.
    let mut space = [std::mem::MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&opened, &mut space);
    for _ in 0..3 {
        let mut polled = [PollFd::new(&opened, PollFlags::IN)];
        let within = rustix::time::Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut polled, Some(&within)), Ok(1), "it did not try");
        while events.next().is_ok() {}
    }
    drop(held);
    assert!(attach.wait().unwrap().success());
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn a_revoked_key_makes_the_volume_terminal_for_good() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap(), "--probe-interval", "1s"]).expect_code(0);
    fs::write(dir.join("before"), b"revocation").unwrap();
    let pid = host.daemon_pid(&volume);

    host.disable_key();
    wait_until("terminal", Duration::from_secs(2), || host.status(&volume)["state"] == "terminal");
    let status = host.status(&volume);
    assert_eq!(status["cause"], "key-disabled");
    assert!(status["since"].is_string());
    wait_until("the daemon's end", Duration::from_secs(10), || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(fs::read(dir.join("before")).is_err());
    assert_eq!(fs::write(dir.join("after"), b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));

    host.enable_key();
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(6).expect_stderr("restore");
}

#[test]
fn a_key_that_is_disabled_before_attach_refuses_and_changes_nothing() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.disable_key();
    host.envol(&["attach", &volume, "--raw"]).expect_code(4).expect_stderr("DisabledException");
    assert_eq!(host.status(&volume)["state"], "available");
    host.enable_key();
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
}
