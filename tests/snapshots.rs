//! A snapshot shows one moment of a volume, and a volume made of it is that moment; the next one costs what changed.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Stdio;
use std::time::Duration;

use harness::snapshots::{CHUNK, bytes_in, content, noise, objects, write};
use harness::{Host, wait_until};

const MIB: u64 = 1 << 20;

fn text(value: &serde_json::Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[test]
fn each_of_three_snapshots_gives_its_moment_back() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let mut moments = Vec::new();
    for (round, at) in [(1, 0), (2, 7 * MIB), (3, 3 * MIB + 4096)] {
        write(&host, &volume, at, &noise(round, 5 << 20));
        write(&host, &volume, 40 * MIB + 100, &noise(round, 1000));
        let before = content(&host.image(&volume));
        let snapshot = host.snapshot(&volume, &[]);
        assert_eq!(snapshot["volume_id"], volume);
        moments.push((text(&snapshot["snapshot_id"]), before, snapshot));
    }
    // A discard is a change like any other.
    let punched = std::process::Command::new("fallocate")
        .args(["--punch-hole", "--offset", "0", "--length", "4MiB"])
        .arg(host.image(&volume))
        .status()
        .unwrap();
    assert!(punched.success());
    let after_discard = host.snapshot(&volume, &[]);
    let now = content(&host.image(&volume));
    assert!(now.iter().all(|(block, _)| *block >= 1024));
    moments.push((text(&after_discard["snapshot_id"]), now, after_discard));

    for (snapshot, before, shown) in &moments {
        assert_eq!(host.content_of_snapshot(snapshot, &[]), *before, "{shown}");
        assert_eq!(host.json(&["snapshot", "verify", snapshot])["verified"], true);
    }
    assert!(moments[0].2["base_snapshot_id"].is_null());
    assert_eq!(moments[1].2["base_snapshot_id"], moments[0].0.as_str());
    let listed = host.json(&["snapshot", "list", &volume]);
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|s| s["snapshot_id"].as_str().unwrap()).collect();
    assert_eq!(ids, moments.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>());
}

#[test]
fn a_volume_that_is_not_attached_is_attached_for_it() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 1 << 20));
    let before = content(&host.image(&volume));
    host.envol(&["detach", &volume]).expect_code(0);
    let snapshot = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    assert_eq!(host.status(&volume)["state"], "available");
    assert_eq!(host.status(&volume)["last_snapshot"]["snapshot_id"], snapshot.as_str());
    assert_eq!(host.content_of_snapshot(&snapshot, &[]), before);
}

#[test]
fn a_restored_volume_may_be_larger_and_of_another_database() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 63 * MIB, &noise(1, 1 << 20));
    let before = content(&host.image(&volume));
    let snapshot = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    host.try_restore(&snapshot, &["--size", "32MiB"]).expect_code(2).expect_stderr("smaller");
    let larger = host.restore(&snapshot, &["--size", "96MiB", "--id", "vol-larger"]);
    assert_eq!(larger, "vol-larger");
    let shown = host.status(&larger);
    assert_eq!((shown["size_bytes"].as_u64(), shown["db_id"].as_str()), (Some(96 * MIB), Some("db-RESTORED")));
    host.envol(&["attach", &larger, "--raw"]).expect_code(0);
    assert_eq!(content(&host.image(&larger)), before);
}

#[test]
fn what_was_never_written_takes_no_room() {
    let host = Host::new();
    let volume = host.create(&["--size", "1TiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 700 << 30, &noise(1, 1 << 20));
    let snapshot = host.snapshot(&volume, &[]);
    assert_eq!(snapshot["full_bytes"], 1 << 20);
    assert!(bytes_in(&host.store()) < 2 * MIB);
    let restored = host.restore(&text(&snapshot["snapshot_id"]), &[]);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(host.backing(&restored)).unwrap());
    assert!(blocks * 512 < 8 * MIB, "{blocks}");
}

#[test]
fn one_per_cent_changed_reads_and_stores_little_also_after_kill_9_and_a_power_loss() {
    const SIZE: u64 = 512 * MIB;
    let host = Host::new();
    let volume = host.create(&["--size", "512MiB"]);
    let attach = || host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    attach();
    for at in (0..SIZE).step_by(8 << 20) {
        write(&host, &volume, at, &noise(at, 8 << 20));
    }
    let full = host.snapshot(&volume, &["--no-compression"]);
    let full_stored = full["stored_bytes"].as_u64().unwrap();
    assert!(full_stored >= SIZE);
    let scatter = |round: u64| {
        for chunk in 0..SIZE / CHUNK / 100 {
            write(&host, &volume, (chunk * 97 + round) * CHUNK + 8192, &noise(round, 4096));
        }
    };
    let check = |how: &str, compared: bool| {
        let before = content(&host.image(&volume));
        let snapshot = host.snapshot(&volume, &["--no-compression"]);
        let stored = snapshot["stored_bytes"].as_u64().unwrap();
        assert!(stored * 100 < full_stored * 3, "{how}: {stored} of {full_stored}");
        let read = snapshot["read_bytes"].as_u64().unwrap();
        // Without the bits all is read, but nothing is stored that is there.
        assert_eq!(read * 100 < SIZE * 3, !compared, "{how}: {read} bytes read");
        assert_eq!(host.content_of_snapshot(&text(&snapshot["snapshot_id"]), &[]), before, "{how}");
    };
    scatter(1);
    check("while it is served", false);

    scatter(2);
    host.kill_daemon(&volume);
    host.envol(&["detach", &volume]);
    attach();
    check("after kill -9", false);

    scatter(3);
    host.envol(&["detach", &volume]).expect_code(0);
    attach();
    check("after a detach", false);

    // The machine lost its power while the volume was attached: the file is of another boot, and nobody closed it.
    scatter(4);
    host.kill_daemon(&volume);
    host.envol(&["detach", &volume]);
    let changes = host.root().join("volumes").join(&volume).join("changes");
    assert!(changes.exists());
    fs::remove_file(&changes).unwrap();
    attach();
    check("after a power loss", true);
}

#[test]
fn a_changed_image_from_elsewhere_is_read_whole() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 8 << 20));
    host.snapshot(&volume, &[]);
    host.envol(&["detach", &volume]).expect_code(0);
    let image = host.backing(&volume);
    let old = fs::read(&image).unwrap();
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, MIB, &noise(2, 4096));
    host.envol(&["detach", &volume]).expect_code(0);
    // Put back from a copy: its header is not the one that the changes were written down for.
    fs::write(&image, &old).unwrap();
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let now = content(&host.image(&volume));
    let snapshot = host.snapshot(&volume, &[]);
    assert!(snapshot["read_bytes"].as_u64().unwrap() >= 8 << 20, "{snapshot}");
    assert_eq!(host.content_of_snapshot(&text(&snapshot["snapshot_id"]), &[]), now);
}

#[test]
fn a_revoked_key_opens_no_snapshot_and_leaves_nothing_half_made() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "1s"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 1 << 20));
    let before = content(&host.image(&volume));
    let snapshot = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    host.disable_key();
    wait_until("terminal", Duration::from_secs(30), || host.status(&volume)["state"] == "terminal");
    let there = host.volume_directories();
    host.try_restore(&snapshot, &[]).expect_code(4).expect_stderr("disabled");
    host.envol(&["snapshot", "verify", &snapshot]).expect_code(4);
    assert_eq!(host.volume_directories(), there);
    host.envol(&["snapshot", "create", &volume]).expect_code(6);
    // Nobody needs the key to look at the list, or to delete.
    host.envol(&["snapshot", "list"]).expect_code(0);

    host.enable_key();
    assert_eq!(host.content_of_snapshot(&snapshot, &[]), before);
}

#[test]
fn a_store_on_the_volume_itself_is_refused() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let inside = dir.join("backups");
    let inside = inside.to_str().unwrap();
    host.envol(&["snapshot", "create", &volume, "--store", inside]).expect_code(2).expect_stderr("itself");
    let nested = dir.join("a");
    fs::create_dir(&nested).unwrap();
    let link = host.root().join("link");
    std::os::unix::fs::symlink(&nested, &link).unwrap();
    host.envol(&["snapshot", "create", &volume, "--store", link.to_str().unwrap()]).expect_code(2);
    host.snapshot(&volume, &[]);
}

#[test]
fn two_stores_each_have_a_snapshot_of_their_own() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 4 << 20));
    let other = host.root().join("elsewhere");
    let other = ["--store", other.to_str().unwrap()];
    let here = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    write(&host, &volume, 0, &noise(2, 4096));
    let there = host.snapshot(&volume, &other);
    assert!(there["base_snapshot_id"].is_null(), "{there}");
    write(&host, &volume, MIB, &noise(3, 4096));
    let now = content(&host.image(&volume));
    // The bits are of the other store's snapshot: this one compares.
    let again = host.snapshot(&volume, &[]);
    assert_eq!(again["base_snapshot_id"], here.as_str());
    assert_eq!(host.content_of_snapshot(&text(&again["snapshot_id"]), &[]), now);
    host.envol(&["snapshot", "show", &here]).expect_code(0);
    // A name that was mistyped is no empty store, and does not become one.
    let nowhere = host.root().join("nowhere");
    host.envol(&["snapshot", "list", "--store", nowhere.to_str().unwrap()]).expect_code(3).expect_stderr("nowhere");
    assert!(!nowhere.exists());
    host.envol(&[&["snapshot", "show", &here], &other[..]].concat()).expect_code(3);
}

#[test]
fn damage_is_named_and_nothing_is_served_of_it() {
    let host = Host::new();
    let volume = host.create(&["--size", "128MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 80 << 20));
    let snapshot = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    write(&host, &volume, 0, &noise(2, 1 << 20));
    let newer = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    let all = objects(&host.store());
    let packs: Vec<_> =
        all.iter().filter(|(path, _)| path.to_str().unwrap().contains(&format!("packs/{snapshot}"))).collect();
    assert!(packs.len() >= 3, "{all:?}");
    let manifest = host.store().join("snapshots").join(&snapshot);
    let there = host.volume_directories();
    let refused = |what: &str, object: &str| {
        for ran in [host.envol(&["snapshot", "verify", &snapshot]), host.try_restore(&snapshot, &[])] {
            assert_eq!(ran.code, 7, "{what}: {}", ran.stderr);
            assert!(ran.stderr.contains(&snapshot) && ran.stderr.contains(object), "{what}: {}", ran.stderr);
        }
        assert_eq!(host.volume_directories(), there, "{what}");
    };
    let name = |path: &std::path::Path| path.strip_prefix(host.store()).unwrap().to_str().unwrap().to_owned();
    let (first, second) = (&packs[0].0, &packs[1].0);

    let whole = fs::read(first).unwrap();
    for at in [0, whole.len() / 2] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(first, flipped).unwrap();
        refused("a flipped byte", &name(first));
    }
    fs::write(first, &whole[..whole.len() / 2]).unwrap();
    refused("cut short", &name(first));
    fs::remove_file(first).unwrap();
    refused("missing", &name(first));
    fs::copy(second, first).unwrap();
    refused("another in its place", &name(first));
    fs::write(first, &whole).unwrap();

    let whole = fs::read(&manifest).unwrap();
    for at in [20, whole.len() - 5] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        fs::write(&manifest, flipped).unwrap();
        refused("a flipped byte of the manifest", &snapshot);
    }
    fs::copy(host.store().join("snapshots").join(&newer), &manifest).unwrap();
    refused("the manifest of another", &snapshot);
    fs::write(&manifest, &whole).unwrap();

    // The control.
    host.envol(&["snapshot", "verify", &snapshot]).expect_code(0);
    host.envol(&["snapshot", "verify", &newer]).expect_code(0);
}

#[test]
fn nothing_in_a_store_is_plaintext() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let secret = b"the-quick-brown-fox-".repeat(1000);
    fs::write(dir.join("file"), &secret).unwrap();
    for more in [&[][..], &["--no-compression"]] {
        host.snapshot(&volume, more);
    }
    for (path, _) in objects(&host.store()) {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(20).any(|window| window == b"the-quick-brown-fox-"), "{}", path.display());
    }
    // The control: it is in the volume.
    let image = fs::read(host.image(&volume)).unwrap();
    assert!(image.windows(20).any(|window| window == b"the-quick-brown-fox-"));
}

#[test]
fn a_snapshot_that_others_build_upon_can_be_deleted() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 16 << 20));
    let first = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    write(&host, &volume, 0, &noise(2, 4096));
    let now = content(&host.image(&volume));
    let second = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    host.envol(&["snapshot", "delete", &first, "--yes"]).expect_code(0);
    host.envol(&["snapshot", "show", &first]).expect_code(3);
    assert_eq!(host.content_of_snapshot(&second, &[]), now);
    let gone = host.json(&["snapshot", "gc"]);
    assert_eq!(gone["removed_objects"], 0, "{gone}");
    host.envol(&["snapshot", "delete", &second, "--yes"]).expect_code(0);
    assert_eq!(objects(&host.store()), []);
    assert!(host.status(&volume)["last_snapshot"].is_null());
    // The next one is full again.
    let third = host.snapshot(&volume, &[]);
    assert!(third["base_snapshot_id"].is_null());
    assert_eq!(host.content_of_snapshot(&text(&third["snapshot_id"]), &[]), now);
}

#[test]
fn prune_keeps_what_a_rule_keeps() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let mut ids = Vec::new();
    for round in 0..4 {
        write(&host, &volume, round * MIB, &noise(round, 4096));
        ids.push(text(&host.snapshot(&volume, &[])["snapshot_id"]));
    }
    host.envol(&["snapshot", "prune", &volume]).expect_code(2);
    let would = host.json(&["snapshot", "prune", &volume, "--keep-last", "2", "--dry-run"]);
    assert_eq!(would["deleted"].as_array().unwrap().len(), 2);
    let did = host.json(&["snapshot", "prune", &volume, "--keep-last", "2"]);
    assert_eq!(did["deleted"], would["deleted"]);
    let left = host.json(&["snapshot", "list", &volume]);
    let left: Vec<&str> =
        left["snapshots"].as_array().unwrap().iter().map(|s| s["snapshot_id"].as_str().unwrap()).collect();
    assert_eq!(left, ids[2..].iter().map(String::as_str).collect::<Vec<_>>());
    host.json(&["snapshot", "verify", &ids[3]]);
}

/// The store takes next to nothing, which is less than is written, and there is room for two chunks: after 10 s the snapshot is given up for the writers.
#[test]
fn a_spill_that_stays_full_fails_the_snapshot_and_no_writer() {
    let host = Host::new();
    let volume = host.create(&["--size", "512MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    for at in (0..400 * MIB).step_by(50 << 20) {
        write(&host, &volume, at, &noise(at, 50 << 20));
    }
    let mut command = host.command(harness::ENVOL);
    command.arg("--root").arg(host.root()).args(["snapshot", "create", &volume, "--spill", "1MiB"]);
    command.args(["--no-compression", "--bandwidth", "64KiB"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut snapshot = command.spawn().unwrap();
    let image = OpenOptions::new().write(true).open(host.image(&volume)).unwrap();
    let mut round = 0;
    wait_until("the end of the snapshot", Duration::from_secs(90), || {
        round += 1;
        for chunk in 0..800 {
            image.write_all_at(&noise(chunk + round, 4096), chunk * CHUNK).unwrap();
        }
        snapshot.try_wait().unwrap().is_some()
    });
    image.sync_all().unwrap();
    let ended = harness::ran(&snapshot.wait_with_output().unwrap());
    assert_eq!(ended.code, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("--spill"), "{}", ended.stderr);
    assert_eq!(host.status(&volume)["state"], "in-use");

    // The control: nothing of what changed was forgotten over it.
    let now = content(&host.image(&volume));
    let snapshot = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    assert_eq!(host.content_of_snapshot(&snapshot, &[]), now);
}

/// A store that nobody can write to any more fails the snapshot, and the volume goes on.
#[test]
fn a_store_that_fails_does_not_hold_up_the_volume() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 8 << 20));
    let file = host.root().join("a-file");
    fs::write(&file, b"").unwrap();
    let ran = host.envol(&["snapshot", "create", &volume, "--store", file.to_str().unwrap()]);
    assert_ne!(ran.code, 0);
    let image = OpenOptions::new().write(true).open(host.image(&volume)).unwrap();
    image.write_all_at(b"still there", 0).unwrap();
    host.snapshot(&volume, &[]);
}
