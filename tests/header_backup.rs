//! The header of a volume is kept in a file and brought back bit for bit; what would bring back less than there is, or another's, is
//! refused.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use envol::format::{
    Cause, HEADER_LEN, HeaderCopy, LifecycleRecord, LifecycleState, SUPERBLOCK_LEN, UnverifiedSuperblock,
};
use harness::{Host, data_of};

const DATA: &[u8] = b"written while the header was whole";

fn written_volume(host: &Host) -> String {
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = File::options().write(true).open(host.image(&volume)).unwrap();
    image.write_all_at(DATA, 5000).unwrap();
    image.sync_all().unwrap();
    drop(image);
    host.envol(&["detach", &volume]).expect_code(0);
    volume
}

/// The file of a backup.
fn back_up(host: &Host, volume: &str, name: &str) -> PathBuf {
    let file = host.root().join(name);
    host.envol(&["header", "backup", volume, file.to_str().unwrap()]).expect_code(0);
    file
}

fn restore<'a>(volume: &'a str, file: &'a Path) -> [&'a str; 4] {
    ["header", "restore", volume, file.to_str().unwrap()]
}

fn header(host: &Host, volume: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(HEADER_LEN).unwrap()];
    File::open(host.backing(volume)).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn put(host: &Host, volume: &str, offset: u64, bytes: &[u8]) {
    File::options().write(true).open(host.backing(volume)).unwrap().write_all_at(bytes, offset).unwrap();
}

fn damage(host: &Host, volume: &str, byte: u8) {
    put(host, volume, 0, &vec![byte; usize::try_from(HEADER_LEN).unwrap()]);
}

#[track_caller]
fn assert_attaches(host: &Host, volume: &str) {
    host.envol(&["attach", volume, "--raw"]).expect_code(0);
    let mut bytes = vec![0; DATA.len()];
    File::open(host.image(volume)).unwrap().read_exact_at(&mut bytes, 5000).unwrap();
    assert_eq!(bytes, DATA);
    host.envol(&["detach", volume]).expect_code(0);
}

/// The image is not written to.
#[track_caller]
fn refused(host: &Host, volume: &str, command: &[&str], code: i32, why: &str) {
    let before = data_of(&host.backing(volume));
    host.envol(command).expect_code(code).expect_stderr(why);
    assert_eq!(data_of(&host.backing(volume)), before, "{command:?} wrote");
}

#[test]
fn a_header_that_is_zeroed_or_overwritten_comes_back_bit_for_bit() {
    let host = Host::new();
    let volume = written_volume(&host);
    let file = back_up(&host, &volume, "header");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (whole, image) = (header(&host, &volume), data_of(&host.backing(&volume)));
    for byte in [0, 0xa5] {
        damage(&host, &volume, byte);
        host.envol(&["attach", &volume, "--raw"]).expect_code(7).expect_stderr("envol header restore");
        assert!(host.status(&volume)["next"].as_str().unwrap().contains("envol header restore"));
        host.envol(&["check", &volume]).expect_code(7).expect_stderr("envol header restore");
        let restored = host.json(&restore(&volume, &file));
        assert_eq!((&restored["state"], &restored["key_generation"]), (&"available".into(), &1.into()));
        assert!(header(&host, &volume) == whole, "the first MiB differs");
        assert_eq!(data_of(&host.backing(&volume)), image);
    }
    assert_attaches(&host, &volume);
    // Of an attached volume a backup can be made, and not brought back.
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let later = back_up(&host, &volume, "later");
    refused(&host, &volume, &restore(&volume, &later), 8, "attached");
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&restore(&volume, &later)).expect_code(0);
    assert_attaches(&host, &volume);
}

#[test]
fn a_restore_that_is_cut_short_has_no_less_than_before_and_a_repeat_finishes() {
    let host = Host::new();
    let volume = written_volume(&host);
    let file = back_up(&host, &volume, "header");
    let whole = header(&host, &volume);
    let copy = |copy: HeaderCopy| {
        let start = usize::try_from(copy.superblock_offset()).unwrap();
        (copy.superblock_offset(), &whole[start..start + SUPERBLOCK_LEN])
    };
    // Of a header that is gone, copy A is written first: torn, and whole.
    for torn in [4096, SUPERBLOCK_LEN] {
        damage(&host, &volume, 0);
        let (offset, bytes) = copy(HeaderCopy::A);
        put(&host, &volume, offset, &bytes[..torn]);
        host.envol(&restore(&volume, &file)).expect_code(0);
        assert!(header(&host, &volume) == whole);
    }
    // One copy that is whole serves until the other one is.
    for damaged in HeaderCopy::BOTH {
        for torn in [0, 4096, SUPERBLOCK_LEN] {
            let (offset, bytes) = copy(damaged);
            put(&host, &volume, offset, &[&bytes[..torn], &vec![0; SUPERBLOCK_LEN - torn]].concat());
            let readable = host.envol(&["inspect", host.backing(&volume).to_str().unwrap()]);
            readable.expect_code(0);
            host.envol(&restore(&volume, &file)).expect_code(0);
            assert!(header(&host, &volume) == whole);
        }
    }
    assert_attaches(&host, &volume);
}

#[test]
fn a_backup_from_before_a_rewrap_is_refused_and_forced_it_brings_the_old_key_back() {
    let host = Host::new();
    let volume = written_volume(&host);
    let before = back_up(&host, &volume, "before");
    let key = host.aws(&["create-key", "--query", "KeyMetadata.Arn", "--output", "text"]).expect_code(0);
    let key = key.stdout.trim();
    host.envol(&["rewrap", &volume, "--kms-key", key]).expect_code(0);
    let after = back_up(&host, &volume, "after");
    refused(&host, &volume, &restore(&volume, &before), 2, "from before a rewrap");
    // Also where nothing but what lies beside the image can tell.
    damage(&host, &volume, 0);
    refused(&host, &volume, &restore(&volume, &before), 2, "from before a rewrap");
    host.envol(&restore(&volume, &after)).expect_code(0);
    assert_eq!(host.status(&volume)["kms_key"], key);
    assert_attaches(&host, &volume);

    damage(&host, &volume, 0);
    host.envol(&[&restore(&volume, &before)[..], &["--force-older"]].concat()).expect_code(0);
    assert!(host.status(&volume)["kms_key"].as_str().unwrap().ends_with(&host.key_id()));
    assert_attaches(&host, &volume);
    // And on from there.
    host.envol(&["rewrap", &volume, "--kms-key", key]).expect_code(0);
    assert_attaches(&host, &volume);
}

#[test]
fn what_is_not_this_volumes_or_not_whole_is_refused() {
    let host = Host::new();
    let (volume, other) = (written_volume(&host), written_volume(&host));
    let (file, theirs) = (back_up(&host, &volume, "header"), back_up(&host, &other, "theirs"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    host.envol(&["header", "backup", &volume, &text(&file)]).expect_code(2).expect_stderr("not overwritten");
    host.envol(&["header", "backup", "vol-nothing", "/nowhere"]).expect_code(3);
    refused(&host, &volume, &restore(&volume, &theirs), 7, &other);
    refused(&host, &volume, &restore(&volume, &host.root().join("nothing")), 3, "there is no");

    let mut bytes = fs::read(&file).unwrap();
    bytes[5000] ^= 1;
    let damaged = host.root().join("damaged");
    fs::write(&damaged, &bytes).unwrap();
    refused(&host, &volume, &restore(&volume, &damaged), 7, "damaged");
    fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
    refused(&host, &volume, &restore(&volume, &damaged), 7, "damaged");
    fs::write(&damaged, b"#!/bin/sh").unwrap();
    refused(&host, &volume, &restore(&volume, &damaged), 7, "damaged");

    // A device that changed its name: the other volume stays what it is.
    let whole = header(&host, &volume);
    put(&host, &volume, 0, &header(&host, &other));
    refused(&host, &volume, &restore(&volume, &file), 7, &other);
    host.envol(&["header", "backup", &volume, &text(&host.root().join("no"))]).expect_code(7);
    put(&host, &volume, 0, &whole);

    // Nothing can be backed up of a header that is gone; and the control.
    damage(&host, &volume, 0);
    host.envol(&["header", "backup", &volume, &text(&host.root().join("none"))]).expect_code(7);
    assert!(!host.root().join("none").exists());
    host.envol(&restore(&volume, &file)).expect_code(0);
    assert_attaches(&host, &volume);
}

#[test]
fn a_volume_that_is_terminal_stays_so() {
    let host = Host::new();
    let volume = written_volume(&host);
    let file = back_up(&host, &volume, "header");
    let whole = header(&host, &volume);
    let record = LifecycleRecord {
        state: LifecycleState::Terminal,
        sequence: 1,
        volume_id: volume.parse().unwrap(),
        cause: Cause::KeyDisabled,
        at_ms: 1_700_000_000_000,
        request_id: String::new(),
        detail: "DisabledException: it is disabled".to_owned(),
    };
    // With a header that is gone, too.
    for superblocks in [true, false] {
        if !superblocks {
            damage(&host, &volume, 0);
        }
        put(&host, &volume, HeaderCopy::B.lifecycle_offset(), &record.encode()[..]);
        refused(&host, &volume, &restore(&volume, &file), 6, "key-disabled");
    }
    put(&host, &volume, 0, &whole);
    put(&host, &volume, HeaderCopy::A.lifecycle_offset(), &record.encode()[..]);
    host.envol(&["header", "backup", &volume, host.root().join("no").to_str().unwrap()]).expect_code(6);

    // Erased, the same.
    put(&host, &volume, 0, &whole);
    for copy in HeaderCopy::BOTH {
        let start = usize::try_from(copy.superblock_offset()).unwrap();
        let erased = UnverifiedSuperblock::parse(&whole[start..]).unwrap().erased();
        put(&host, &volume, copy.superblock_offset(), &erased[..]);
    }
    refused(&host, &volume, &restore(&volume, &file), 6, "erased");
    put(&host, &volume, 0, &whole);
    host.envol(&restore(&volume, &file)).expect_code(0);
    assert_attaches(&host, &volume);
}

#[test]
fn a_backup_from_before_the_volume_was_made_larger_is_refused() {
    let host = Host::new();
    let volume = written_volume(&host);
    let file = back_up(&host, &volume, "header");
    let forced = [&restore(&volume, &file)[..], &["--force-older"]].concat();

    // The image is longer than it was.
    damage(&host, &volume, 0);
    let image = File::options().write(true).open(host.backing(&volume)).unwrap();
    let len = image.metadata().unwrap().len();
    image.set_len(len + (16 << 20)).unwrap();
    refused(&host, &volume, &restore(&volume, &file), 2, "made larger");
    host.envol(&forced).expect_code(0);
    assert_attaches(&host, &volume);
    image.set_len(len).unwrap();

    // On a device of the same length, the map has blocks behind the end.
    let behind = HEADER_LEN + 4096 / 8;
    damage(&host, &volume, 0);
    put(&host, &volume, behind, &[1]);
    refused(&host, &volume, &restore(&volume, &file), 2, "made larger");
    put(&host, &volume, behind, &[0]);
    host.envol(&restore(&volume, &file)).expect_code(0);
    assert_attaches(&host, &volume);
}

#[test]
fn a_backup_from_before_the_file_system_warns_and_does_not_replace_a_header_that_knows_it() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let blank = back_up(&host, &volume, "blank");
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    fs::write(dir.join("greeting"), DATA).unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    let formatted = back_up(&host, &volume, "formatted");
    refused(&host, &volume, &restore(&volume, &blank), 2, "before its file system");
    damage(&host, &volume, 0);
    host.envol(&restore(&volume, &blank)).expect_code(0).expect_stderr("--mkfs");
    refused(&host, &volume, &["attach", &volume, dir.to_str().unwrap()], 2, "--mkfs");
    host.envol(&restore(&volume, &formatted)).expect_code(0);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    assert_eq!(fs::read(dir.join("greeting")).unwrap(), DATA);
}
