//! `envol bench volume` measures a volume beside its bare backing, and leaves both as they were.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use harness::Host;
use harness::tmpfs::Tmpfs;
use serde_json::Value;

fn results(report: &Value) -> &[Value] {
    report["results"].as_array().unwrap()
}

fn assert_measured(result: &Value, side: &str) {
    assert!(result[side].as_f64().unwrap() > 0.0, "{side}: {result}");
    assert!(result[format!("{side}_p99_us")].as_f64().unwrap() > 0.0, "{side}: {result}");
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_mounted_volume_is_written_and_read_and_keeps_its_files() {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap(), "--cache", "none"]).expect_code(0);
    fs::write(dir.join("mine"), "as it was").unwrap();
    let beside = host.backing(&volume).parent().unwrap().to_owned();
    let (inside_before, beside_before) = (names(&dir), names(&beside));
    let report = host.json(&["bench", "volume", &volume]);
    assert_eq!(report["volume_id"], volume.as_str());
    assert_eq!(report["cache"], "none");
    assert_eq!(results(&report).len(), 7);
    for result in results(&report) {
        assert_measured(result, "volume");
        assert_measured(result, "bare");
        assert!(result["ratio"].as_f64().unwrap() > 0.0, "{result}");
    }
    assert_eq!((names(&dir), names(&beside)), (inside_before, beside_before));
    assert_eq!(fs::read_to_string(dir.join("mine")).unwrap(), "as it was");
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn a_small_volume_is_measured_in_half_of_its_room() {
    let host = Host::new();
    let volume = host.create(&["--size", "128MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let ran = host.envol(&["bench", "volume", &volume]).expect_code(0);
    let len = ran.stdout.split_once("a file of ").expect("its length").1.split_once("MiB").expect("MiB").0;
    assert!((16..64).contains(&len.parse().unwrap()), "{}", ran.stdout);
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn an_image_is_only_read() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw", "--cache", "writeback"]).expect_code(0);
    let image = fs::File::options().read(true).write(true).open(host.image(&volume)).unwrap();
    let written = vec![7; 4 << 20];
    image.write_all_at(&written, 0).unwrap();
    let ran = host.envol(&["bench", "volume", &volume]).expect_code(0);
    assert!(ran.stdout.contains("random read") && !ran.stdout.contains("random write"), "{}", ran.stdout);
    assert!(ran.stdout.contains("Only read"), "{}", ran.stdout);
    let mut read = vec![0; written.len()];
    image.read_exact_at(&mut read, 0).unwrap();
    assert!(read == written);
    drop(image);
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn what_cannot_be_measured_says_why() {
    let host = Host::new();
    host.envol(&["bench", "volume", "vol-0123456789abcdef0"]).expect_code(3).expect_stderr("vol-0123456789abcdef0");
    let backings = Tmpfs::mount(host.directory("backings"), "512m");
    let full = host.root().join("backings/full");
    let backing = host.root().join("backings/image");
    let volume = host.create(&["--size", "1GiB", "--backing", backing.to_str().unwrap()]);
    host.envol(&["bench", "volume", &volume]).expect_code(3).expect_stderr("is not attached");
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    // The image would find no room, and its volume serve nobody any more.
    let room = rustix::fs::statvfs(full.parent().unwrap()).unwrap();
    let all_but_48_mib = (room.f_bavail * room.f_frsize).strict_sub(48 << 20);
    let taken = fs::File::create(&full).unwrap();
    rustix::fs::fallocate(&taken, rustix::fs::FallocateFlags::empty(), 0, all_but_48_mib).unwrap();
    let refused = host.envol(&["bench", "volume", &volume]).expect_code(1);
    refused.expect_stderr("needs 64MiB of room").expect_stderr("free some");
    fs::write(dir.join("mine"), "goes on").unwrap();
    assert_eq!(host.status(&volume)["state"], "in-use");
    host.envol(&["detach", &volume]).expect_code(0);
    drop(backings);
}
