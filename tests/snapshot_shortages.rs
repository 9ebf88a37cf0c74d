//! A disk that is full, and a daemon that is gone: whoever takes or restores a snapshot is told what to do, does it, and the
//! same command goes on.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::process::Stdio;
use std::time::Duration;

use harness::snapshots::{content, noise, unaccounted, write};
use harness::tmpfs::Tmpfs;
use harness::{ENVOL, Host, ran, wait_until};

const MIB: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// A volume of 96 MiB, attached, with 80 MiB in it.
fn volume(host: &Host) -> String {
    let volume = host.create(&["--size", "96MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(host, &volume, 0, &noise(7, 80 << 20));
    volume
}

#[test]
fn a_snapshot_goes_on_when_its_full_store_has_room_again() {
    let host = Host::new();
    let volume = volume(&host);
    let small = Tmpfs::mount(host.directory("small"), "48m");
    let store = small.0.join("store");
    let store = ["--store", store.to_str().unwrap()];
    let take = [&["snapshot", "create", &volume][..], &store].concat();
    host.envol(&take).expect_code(1).expect_stderr("no space is left").expect_stderr("same command");
    // The volume is none the worse, and what is stored of it counts.
    write(&host, &volume, 90 * MIB, &noise(8, 4096));
    let moment = content(&host.image(&volume));
    small.grow("160m");
    let snapshot = host.snapshot(&volume, &store)["snapshot_id"].as_str().unwrap().to_owned();
    assert!(host.content_of_snapshot(&snapshot, &store) == moment);
    let (garbage, missing) = unaccounted(&small.0.join("store"));
    assert!(garbage.is_empty() && missing.is_empty(), "{garbage:?} {missing:?}");
}

#[test]
fn a_restore_goes_on_when_the_full_disk_has_room_again() {
    let host = Host::new();
    let volume = volume(&host);
    let moment = content(&host.image(&volume));
    let snapshot = host.snapshot(&volume, &[])["snapshot_id"].as_str().unwrap().to_owned();
    let small = Tmpfs::mount(host.directory("small"), "48m");
    let backing = small.0.join("image");
    let backing = ["--backing", backing.to_str().unwrap()];
    let full = host.try_restore(&snapshot, &backing).expect_code(1);
    full.expect_stderr("No space left").expect_stderr("the same command goes on");
    small.grow("160m");
    let restored = host.restore(&snapshot, &backing);
    host.envol(&["attach", &restored, "--raw"]).expect_code(0);
    assert!(content(&host.image(&restored)) == moment);
    host.envol(&["detach", &restored]).expect_code(0);
}

#[test]
fn whoever_takes_a_snapshot_of_a_daemon_that_is_killed_is_told_to_attach_again() {
    let host = Host::new();
    let volume = volume(&host);
    let store = host.root().join("store");
    let store = ["--store", store.to_str().unwrap()];
    // So slow that it is under way for as long as this takes.
    let slow = [&["snapshot", "create", &volume, "--bandwidth", "8MiB"][..], &store].concat();
    let taking = host.command(ENVOL).arg("--root").arg(host.root()).args(&slow).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("the first pack", DEADLINE, || host.root().join("store/packs").exists());
    host.kill_daemon(&volume);
    let ended = ran(&taking.wait_with_output().unwrap());
    ended.expect_code(1).expect_stderr(&volume).expect_stderr("ttach the volume again");
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    host.snapshot(&volume, &store);
}
