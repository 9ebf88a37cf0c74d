//! What other people, other programs and crashes do to a volume between attach and detach.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::tmpfs::Tmpfs;
use harness::{Host, ran, wait_until};

fn daemon_is_gone(pid: i32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn xfs_is_attached_again_after_its_daemon_was_killed() {
    let host = Host::new();
    let volume = host.create(&["--size", "320MiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    host.envol(&["attach", &volume, dir_text, "--fs", "xfs"]).expect_code(0);
    let mut file = fs::File::create(dir.join("kept")).unwrap();
    file.write_all(b"synced").unwrap();
    file.sync_all().unwrap();
    drop(file);
    host.kill_daemon(&volume);
    // The dead file system notices, and from then on a stat of its root fails.
    wait_until("the shutdown of XFS", Duration::from_secs(30), || {
        fs::write(dir.join("more"), b"x").is_err() && fs::metadata(&dir).is_err()
    });
    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    assert_eq!(fs::read(dir.join("kept")).unwrap(), b"synced");
}

#[test]
fn an_image_that_was_unmounted_by_hand_keeps_what_was_written() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let pid = host.daemon_pid(&volume);
    let data = vec![0x5A; 1 << 20];
    fs::File::options().write(true).open(host.image(&volume)).unwrap().write_all(&data).unwrap();
    let unmounted = Command::new("umount").arg(format!("/run/envol/{volume}")).status().unwrap();
    assert!(unmounted.success());
    wait_until("the daemon's end", Duration::from_secs(20), || daemon_is_gone(pid));
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    assert!(fs::read(host.image(&volume)).unwrap()[..data.len()] == data);
}

#[test]
fn a_file_system_that_was_unmounted_by_hand_is_the_end_of_serving() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    let attach = ["attach", &volume, dir.to_str().unwrap()];
    host.envol(&attach).expect_code(0);
    let pid = host.daemon_pid(&volume);
    fs::write(dir.join("kept"), b"not synced").unwrap();
    assert!(Command::new("umount").arg(&dir).status().unwrap().success());
    wait_until("the daemon's end", Duration::from_secs(20), || daemon_is_gone(pid));
    assert!(!Path::new(&format!("/run/envol/{volume}")).exists());
    let events = host.envol(&["events", &volume]).expect_code(0).stdout;
    assert!(events.lines().last().unwrap().contains("detached"), "{events}");

    host.envol(&attach).expect_code(0);
    assert_eq!(fs::read(dir.join("kept")).unwrap(), b"not synced");
}

#[test]
fn detach_and_delete_clear_what_a_killed_daemon_and_companion_left() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    host.kill_daemon_and_companion(&volume);
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(3);
    assert!(host.status(&volume)["cause"].is_null());

    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    host.kill_daemon_and_companion(&volume);
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    fs::write(dir.join("an-ordinary-directory"), b"again").unwrap();
}

#[test]
fn a_copy_of_the_root_directory_does_not_disturb_the_volume_that_is_served() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let copy = tempfile::TempDir::new().unwrap();
    let copied = Command::new("cp").arg("-a").arg(host.root().join("volumes")).arg(copy.path()).status().unwrap();
    assert!(copied.success());
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);

    let elsewhere = |arguments: &[&str]| {
        let mut command = host.command(harness::ENVOL);
        ran(&command.arg("--root").arg(copy.path()).args(arguments).output().unwrap())
    };
    elsewhere(&["attach", &volume, "--raw"]).expect_code(8).expect_stderr("same id");
    elsewhere(&["detach", &volume]).expect_code(8);
    assert!(elsewhere(&["--json", "status", &volume]).expect_code(0).stdout.contains(r#""state":"available""#));
    assert_eq!(host.status(&volume)["state"], "in-use");
    assert!(fs::read(host.image(&volume)).is_ok());
    // Nor where its daemon cannot say whose it is.
    let daemon = host.daemon_pid(&volume);
    harness::signal(daemon, rustix::process::Signal::STOP);
    elsewhere(&["detach", &volume, "--force"]).expect_code(8).expect_stderr("another image");
    harness::signal(daemon, rustix::process::Signal::CONT);
    wait_until("an answer", Duration::from_secs(20), || host.status(&volume)["pid"] == daemon);
    assert!(fs::read(host.image(&volume)).is_ok());

    // The control: without the other, the copy attaches.
    host.envol(&["detach", &volume]).expect_code(0);
    elsewhere(&["attach", &volume, "--raw"]).expect_code(0);
    elsewhere(&["detach", &volume]).expect_code(0);
}

/// It had said how it was before it was told to detach.
#[test]
fn a_daemon_that_falls_silent_while_it_detaches_is_noticed() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let daemon = host.daemon_pid(&volume);
    // Who stays when told to go is waited for.
    let script = "trap 'echo told' TERM; echo here; while :; do sleep 600 & wait $!; done";
    let mut holder = Command::new("sh").args(["-c", script]).current_dir(&dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut says = BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(says.next().unwrap(), "here");
    let mut detach = host.command(harness::ENVOL);
    detach.arg("--root").arg(host.root()).args(["detach", "--force", &volume]);
    let detaching = detach.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(says.next().unwrap(), "told");
    harness::signal(daemon, rustix::process::Signal::STOP);
    let detached = ran(&detaching.wait_with_output().unwrap()).expect_code(0);
    assert!(detached.stdout.contains("did not answer"), "{}", detached.stdout);
    wait_until("the daemon's end", Duration::from_secs(20), || daemon_is_gone(daemon));
    wait_until("the holder's end", Duration::from_secs(20), || holder.try_wait().unwrap().is_some());
    // The control.
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let detached = host.envol(&["detach", "--force", &volume]).expect_code(0);
    assert!(!detached.stdout.contains("did not answer"), "{}", detached.stdout);
}

#[test]
fn deleting_a_volume_spares_another_one_behind_its_link() {
    let host = Host::new();
    let (lost, kept) = (host.create(&["--size", "64MiB"]), host.create(&["--size", "64MiB"]));
    let image = host.backing(&kept);
    let link = host.root().join("volumes").join(&lost).join("backing");
    fs::rename(&link, link.with_extension("aside")).unwrap();
    std::os::unix::fs::symlink(&image, &link).unwrap();
    host.envol(&["delete", &lost, "--yes"]).expect_code(7).expect_stderr(&kept);
    host.envol(&["attach", &kept, "--raw"]).expect_code(0);

    fs::remove_file(&link).unwrap();
    fs::rename(link.with_extension("aside"), &link).unwrap();
    host.envol(&["delete", &lost, "--yes"]).expect_code(0);
}

#[test]
fn a_guard_that_two_volumes_share_goes_with_the_last_of_them() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let mode = fs::metadata(&dir).unwrap().mode() & 0o7777;
    let (old, new) = (host.create(&["--size", "64MiB"]), host.create(&["--size", "64MiB"]));
    for volume in [&old, &new] {
        host.envol(&["attach", volume, dir.to_str().unwrap()]).expect_code(0);
        host.envol(&["detach", volume]).expect_code(0);
    }
    host.envol(&["delete", &old, "--yes"]).expect_code(0);
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0);
    assert!(fs::write(dir.join("beneath"), b"no").is_err());
    host.envol(&["delete", &new, "--yes"]).expect_code(0);
    assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, mode);
}

#[test]
fn a_detach_that_lost_writes_to_a_full_disk_says_so() {
    let host = Host::new();
    let small = Tmpfs::mount(host.directory("small"), "24m");
    let image = small.0.join("image");
    let volume = host.create(&["--size", "128MiB", "--backing", image.to_str().unwrap()]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    // The control: what fits is detached in good order.
    fs::write(dir.join("fits"), vec![1; 1 << 20]).unwrap();
    host.envol(&["detach", &volume]).expect_code(0);

    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    // Taken by the page cache; written back when the file system is unmounted, or before.
    let written = fs::write(dir.join("too-much"), vec![2; 48 << 20]);
    let detached = host.envol(&["detach", &volume]);
    assert!(written.is_err() || detached.code != 0, "48 MiB were lost without a word");
    assert_ne!(host.status(&volume)["state"], "in-use");
    assert!(detached.stderr.contains("lost"), "{detached:?}");
    drop(host);
}
