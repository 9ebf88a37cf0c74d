//! What makes no sense, or would destroy something, is refused with its exit code, and nothing is written.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use envol::format::{FileSystemState, HeaderCopy, SUPERBLOCK_LEN, UnverifiedSuperblock};
use harness::{ENVOL, Host, Ran, data_of, ran};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

// ---- create -------------------------------------------------------------------------------------------------------

#[test]
fn create_refuses_what_makes_no_sense() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let before = tree(host.root());
    let good = ["--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/test"];
    let with = |name: &str, value: &'static str| {
        let mut arguments = good.to_vec();
        let position = arguments.iter().position(|argument| *argument == name).unwrap();
        arguments[position + 1] = value;
        arguments
    };
    let sizes = ["", "0", "15MiB", "16777728", "16MiB+512", "65TiB", "10GB", "junk", "-16MiB", "99999999999TiB"];
    let mut refused: Vec<Vec<&str>> = sizes.iter().map(|size| with("--size", size)).collect();
    for id in ["", "foo", "../x", "vol-", "vol-../x", "vol-a/b", "vol-ä", "vol-123456789012345678901234567890123"] {
        refused.push([&good[..], &["--id", id]].concat());
    }
    for id in ["", "a b", "../x", "a/b", "ä"] {
        refused.push(with("--db-id", id));
    }
    refused.push(with("--kms-key", ""));
    refused.push(with("--kms-key", "alias/te st"));
    refused.push(vec!["--db-id", "db-A", "--dbc-id", "db-B", "--size", "16MiB", "--kms-key", "alias/test"]);
    refused.push(vec!["--size", "16MiB", "--kms-key", "alias/test"]);
    refused.push(vec!["--db-id", "db-A", "--size", "16MiB"]);
    for arguments in refused {
        let ran = host.envol(&[&["create"], &arguments[..]].concat());
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.is_empty());
    }
    host.envol(&[&["create"], &good[..], &["--id", &volume]].concat()).expect_code(2).expect_stderr(&volume);
    assert_eq!(tree(host.root()), before, "something was made");
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    // The control.
    host.envol(&[&["create"], &good[..], &["--id", "vol-control"]].concat()).expect_code(0);
    assert_ne!(tree(host.root()), before);
}

#[test]
fn create_does_not_touch_a_file_that_holds_something() {
    let host = Host::new();
    let dir = TempDir::new().unwrap();
    let file = |name: &str, len: u64| {
        let path = dir.path().join(name);
        File::create(&path).unwrap().set_len(len).unwrap();
        path
    };
    let len = 64 * MIB;
    let mut images = Vec::new();
    for (name, offset) in [("head", 0), ("second MiB", MIB + 77), ("tail", len - 1)] {
        let path = file(name, len);
        File::options().write(true).open(&path).unwrap().write_all_at(b"7", offset).unwrap();
        images.push((path, "byte"));
    }
    for (name, mkfs) in [("ext4", "mkfs.ext4"), ("xfs", "mkfs.xfs")] {
        let path = file(name, 320 * MIB);
        run(mkfs, &["-q", path.to_str().unwrap()]);
        images.push((path, name));
    }
    let luks = file("luks", len);
    File::options().write(true).open(&luks).unwrap().write_all_at(&luks_header(), 0).unwrap();
    images.push((luks, "crypto_LUKS"));
    let table = file("table", len);
    File::options().write(true).open(&table).unwrap().write_all_at(&partition_table(), 0).unwrap();
    images.push((table, "partition table"));
    // A PostgreSQL heap page: blkid does not know it, and it begins with a position in the log.
    let heap = file("heap", len);
    File::options().write(true).open(&heap).unwrap().write_all_at(&heap_page(), 0).unwrap();
    images.push((heap, "already"));
    let text = dir.path().join("text");
    fs::write(&text, "short").unwrap();
    images.push((text, "already"));

    let before = tree(&host.root().join("volumes"));
    for (path, what) in &images {
        let content = data_of(path);
        let ran = create_on(&host, path).expect_code(8).expect_stderr(what);
        assert!(ran.stderr.contains(path.to_str().unwrap()), "{}", ran.stderr);
        assert!(data_of(path) == content, "{} was changed", path.display());
    }
    assert_eq!(tree(&host.root().join("volumes")), before);

    // The controls: an empty one that is too short, and one of zeros that is long enough.
    for (name, len) in [("empty", 0), ("zeros", len)] {
        let path = file(name, len);
        let volume = create_on(&host, &path).expect_code(0).stdout.trim().to_owned();
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        host.envol(&["detach", &volume]).expect_code(0);
    }
}

#[test]
fn create_refuses_a_backing_that_is_no_place_for_an_image() {
    let host = Host::new();
    let before = tree(&host.root().join("volumes"));
    let dir = TempDir::new().unwrap();
    create_on(&host, dir.path()).expect_code(2);
    create_on(&host, Path::new("/dev/null")).expect_code(2);
    create_on(&host, &dir.path().join("absent/image")).expect_code(2).expect_stderr("absent");
    let dangling = dir.path().join("dangling");
    std::os::unix::fs::symlink(dir.path().join("nowhere/image"), &dangling).unwrap();
    assert_ne!(create_on(&host, &dangling).code, 0);

    let locked = dir.path().join("locked");
    let file = File::create(&locked).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    create_on(&host, &locked).expect_code(8).expect_stderr("locked");
    assert_eq!(file.metadata().unwrap().len(), 0);
    assert_eq!(tree(&host.root().join("volumes")), before);
    drop(file);
    create_on(&host, &locked).expect_code(0);
}

#[test]
fn create_does_not_touch_an_image_that_is_a_volume_already() {
    let dir = TempDir::new().unwrap();
    let image = dir.path().join("image");
    let device = LoopDevice::new(64 * MIB);
    let host = Host::new();
    for path in [&image, &device.path] {
        let volume = create_on(&host, path).expect_code(0).stdout.trim().to_owned();
        let before = tree(&host.root().join("volumes"));
        for header in [Bad::None, Bad::First, Bad::Torn] {
            header.apply(path);
            let content = read_mib(path);
            create_on(&host, path).expect_code(8).expect_stderr("envol volume");
            assert_eq!(read_mib(path), content, "{} was changed", path.display());
        }
        assert_eq!(tree(&host.root().join("volumes")), before);
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        create_on(&host, path).expect_code(8).expect_stderr(&volume);
        host.envol(&["detach", &volume]).expect_code(0);
        // Once it is deleted, the place is free.
        host.envol(&["delete", &volume, "--yes"]).expect_code(0);
        let volume = create_on(&host, path).expect_code(0).stdout.trim().to_owned();
        host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    }
}

/// Damage that a volume survives.
enum Bad {
    None,
    First,
    Torn,
}

impl Bad {
    fn apply(&self, path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        match self {
            Self::None => {}
            Self::First => file.write_all_at(&[0; 16384], 0).unwrap(),
            // Now the other copy is the only one, and not whole.
            Self::Torn => {
                let mut copy = read_mib(path)[512 << 10..][..16384].to_vec();
                file.write_all_at(&copy, 0).unwrap();
                copy[5000] ^= 1;
                file.write_all_at(&copy, 512 << 10).unwrap();
            }
        }
        file.sync_all().unwrap();
    }
}

#[test]
fn a_block_device_that_carries_something_is_not_touched() {
    let device = LoopDevice::new(320 * MIB);
    let host = Host::new();
    let before = tree(&host.root().join("volumes"));
    let refused = |what: &str| {
        let content = device.content();
        create_on(&host, &device.path).expect_code(8).expect_stderr(what);
        assert!(device.content() == content, "{what}: the device was changed");
    };
    run("mkfs.ext4", &["-q", device.path.to_str().unwrap()]);
    refused("ext4");
    device.wipe();
    run("mkfs.xfs", &["-q", device.path.to_str().unwrap()]);
    refused("xfs");
    device.wipe();
    device.write(&luks_header());
    refused("crypto_LUKS");
    device.wipe();
    device.write(&partition_table());
    refused("partition table");
    device.wipe();
    let held = File::options().read(true).custom_flags(libc::O_EXCL).open(&device.path).unwrap();
    refused("in use");
    drop(held);
    assert_eq!(tree(&host.root().join("volumes")), before);

    let small = LoopDevice::new(32 * MIB);
    let content = small.content();
    create_on(&host, &small.path).expect_code(2).expect_stderr("larger device");
    assert!(small.content() == content);
    assert_eq!(tree(&host.root().join("volumes")), before);
}

#[test]
fn a_clean_block_device_carries_a_volume_from_create_to_delete() {
    let device = LoopDevice::new(128 * MIB);
    // What was on it before is not read as blocks of the volume, nor as its map.
    device.write_at(&vec![0xa5; usize::try_from(64 * MIB).unwrap()], 2 * MIB);
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB", "--backing", device.path.to_str().unwrap()]);
    assert_eq!(host.json(&["check", &volume])["written_blocks"], 0);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    fs::write(dir.join("greeting"), b"on a device").unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    assert_eq!(fs::read(dir.join("greeting")).unwrap(), b"on a device");
    host.kill_daemon(&volume);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["check", &volume]).expect_code(0);
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    assert!(read_mib(&device.path).iter().all(|byte| *byte == 0), "a header is left");
}

#[test]
fn create_says_that_ext4_ends_a_file_below_16_tib() {
    let ext4 = MountedFileSystem::new(64 * MIB);
    let host = Host::new();
    let root = ext4.dir.path().join("root");
    let before = tree(ext4.dir.path());
    create_below(&host, &root, "20TiB").expect_code(2).expect_stderr("16 TiB");
    create_below(&host, &root, "16TiB").expect_code(2).expect_stderr("16 TiB");
    assert_eq!(files(&tree(ext4.dir.path())), files(&before), "something is left behind");
    create_below(&host, &root, "15TiB").expect_code(0);
}

#[test]
fn create_on_a_full_disk_says_so_and_leaves_nothing() {
    let ext4 = MountedFileSystem::new(16 * MIB);
    let host = Host::new();
    let root = ext4.dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let filler = ext4.dir.path().join("filler");
    let file = File::create(&filler).unwrap();
    let mut at = 0;
    while file.write_all_at(&[7; 65536], at).is_ok() {
        at += 65536;
    }
    // Room for the names, but not for a header.
    file.set_len(at - 512 * 1024).unwrap();
    file.sync_all().unwrap();
    let before = tree(ext4.dir.path());
    let ran = create_below(&host, &root, "16MiB").expect_stderr("no space left");
    assert_eq!(ran.code, 1);
    assert_eq!(files(&tree(ext4.dir.path())), files(&before), "something is left behind");
    drop(file);
    fs::remove_file(&filler).unwrap();
    create_below(&host, &root, "16MiB").expect_code(0);
}

#[test]
fn create_without_a_willing_kms_writes_nothing() {
    let host = Host::new();
    let aws = host.root().join("kms/aws");
    let credentials = fs::read_to_string(aws.join("credentials")).unwrap();
    let elsewhere = credentials.replace("[envol-admin]", "[elsewhere]").replace("[envol-volume]", "[unused]");
    fs::write(aws.join("credentials"), credentials + &elsewhere).unwrap();
    let config = fs::read_to_string(aws.join("config")).unwrap();
    fs::write(aws.join("config"), config + "\n[profile elsewhere]\nregion = eu-central-1\n").unwrap();
    let backing = host.root().join("backing");
    let create = |variables: &[(&str, &str)], key: &str, more: &[&str]| {
        let mut command = host.command(ENVOL);
        command.arg("--root").arg(host.root());
        command.args(["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", key, "--backing"]).arg(&backing);
        ran(&command.args(more).envs(variables.iter().copied()).output().unwrap())
    };
    let before = tree(&host.root().join("volumes"));
    let refused = |what: &str, codes: &[i32], part: &str, ran: Ran| {
        assert!(codes.contains(&ran.code), "{what}: exit {}: {}", ran.code, ran.stderr);
        assert!(ran.stderr.contains(part), "{what}: no {part:?} in {}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{what}: more than one message: {}", ran.stderr);
        assert!(!ran.stderr.contains(".. "), "{what}: two full stops: {}", ran.stderr);
        assert_eq!(tree(&host.root().join("volumes")), before, "{what}: something was made");
        assert!(!backing.exists(), "{what}: something was made");
    };
    let profile = create(&[], "alias/test", &["--kms-profile", "nosuch"]);
    refused("a profile that is not there", &[4, 5], "`nosuch`", profile);
    let profile = create(&[("AWS_PROFILE", "nosuch")], "alias/test", &[]);
    refused("the caller's own profile is not there", &[4, 5], "`nosuch`", profile);
    refused("a wrong region", &[4, 5], "", create(&[("AWS_PROFILE", "elsewhere")], "alias/test", &[]));
    refused("an alias that is not there", &[4], "alias/nosuch", create(&[], "alias/nosuch", &[]));
    refused("a key that is not there", &[4], "", create(&[], "12345678-1234-1234-1234-123456789012", &[]));
    let secret = [("AWS_PROFILE", ""), ("AWS_ACCESS_KEY_ID", "AKIAXXXXXXXXXXXXXXXX"), ("AWS_SECRET_ACCESS_KEY", "x")];
    refused(
        "wrong credentials",
        &[4],
        "",
        create(&[&secret[..], &[("AWS_REGION", "us-east-1")]].concat(), "alias/test", &[]),
    );
    // As on a machine whose metadata service gives nothing out.
    let (metadata, empty) = (format!("http://{}", host.kms_address()), host.root().join("empty"));
    File::create(&empty).unwrap();
    let nobody = [
        ("AWS_PROFILE", ""),
        ("AWS_CONFIG_FILE", empty.to_str().unwrap()),
        ("AWS_SHARED_CREDENTIALS_FILE", empty.to_str().unwrap()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.as_str()),
        ("AWS_REGION", "us-east-1"),
    ];
    refused("no credentials at all", &[4], "aws configure", create(&nobody, "alias/test", &[]));
    let told_more = create(&nobody, "alias/test", &["-v"]);
    assert!(told_more.stderr.contains("WARN"), "where they were looked for: {}", told_more.stderr);
    host.disable_key();
    refused("a disabled key", &[4], "Disabled", create(&[], "alias/test", &[]));
    host.enable_key();
    host.stop_kms();
    refused("no KMS", &[5], "", create(&[], "alias/test", &[]));
    host.start_kms();
    // The control: the same command, with a profile that is there.
    let grantee = ["--kms-profile", "envol-volume", "--grantee", "arn:aws:iam::111122223333:user/envol-volume"];
    create(&[], "alias/test", &grantee).expect_code(0);
    assert!(backing.exists());
}

#[test]
fn attach_without_a_willing_kms_writes_nothing() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let backing = host.backing(&volume);
    let before = (read_mib(&backing), fs::metadata(&backing).unwrap().mtime_nsec());
    let unchanged = || {
        assert!((read_mib(&backing), fs::metadata(&backing).unwrap().mtime_nsec()) == before);
        assert_eq!(host.status(&volume)["state"], "available");
    };
    let profile = host.envol(&["attach", &volume, "--raw", "--kms-profile", "nosuch"]).expect_stderr("`nosuch`");
    assert!([4, 5].contains(&profile.code), "{}", profile.stderr);
    unchanged();
    host.stop_kms();
    host.envol(&["attach", &volume, "--raw"]).expect_code(5).expect_stderr(&volume);
    unchanged();
    host.start_kms();
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
}

// ---- attach -------------------------------------------------------------------------------------------------------

#[test]
fn what_is_not_there_is_exit_3() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    for verb in ["attach", "detach", "status", "check", "delete"] {
        let ran = host.envol(&[verb, "vol-nosuch"]).expect_code(3);
        assert!(ran.stderr.contains("vol-nosuch"), "{verb}: {}", ran.stderr);
        host.envol(&[verb, "../volumes"]).expect_code(2);
    }
    host.envol(&["inspect", "/nonexistent/image"]).expect_code(3);
    host.envol(&["detach", &volume]).expect_code(3).expect_stderr("not attached");
    host.envol(&["status", &volume]).expect_code(0);
    host.envol(&["inspect", host.backing(&volume).to_str().unwrap()]).expect_code(0);
}

#[test]
fn delete_asks_and_takes_silence_for_no() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["delete", &volume]).expect_code(2).expect_stderr("--yes");
    assert_eq!(host.status(&volume)["state"], "available");
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    host.envol(&["status", &volume]).expect_code(3);
}

#[test]
fn attach_refuses_a_directory_that_would_hide_something() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let refused = |dir: &Path, codes: &[i32], part: &str| {
        let ran = host.envol(&["attach", &volume, dir.to_str().unwrap()]);
        assert!(codes.contains(&ran.code), "{}: exit {}: {}", dir.display(), ran.code, ran.stderr);
        assert!(ran.stderr.contains(part), "{}: {}", dir.display(), ran.stderr);
        let status = host.status(&volume);
        assert_eq!(status["state"], "available");
        assert_eq!(status["file_system"], "none", "{}: a file system was made", dir.display());
    };
    refused(host.root(), &[2], "root directory");
    refused(&host.root().join("volumes"), &[2], "image");
    refused(&host.root().join("volumes").join(&volume), &[2], "image");
    refused(host.root().parent().unwrap(), &[2], "root directory");
    refused(Path::new("/"), &[2], "root directory");

    let file = host.root().join("file");
    fs::write(&file, "content").unwrap();
    refused(&file, &[2], "not a directory");

    let dir = host.directory("mnt");
    fs::write(dir.join("hidden"), "content").unwrap();
    refused(&dir, &[2], "not empty");
    assert_eq!(fs::read(dir.join("hidden")).unwrap(), b"content");
    let link = host.root().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    refused(&link, &[2], "not empty");

    let mounted = MountedFileSystem::new(16 * MIB);
    refused(mounted.dir.path(), &[8], "mount point");

    // The controls: an empty directory, and the same one once it is guarded.
    fs::remove_file(dir.join("hidden")).unwrap();
    for _ in 0..2 {
        host.envol(&["attach", &volume, link.to_str().unwrap()]).expect_code(0);
        host.envol(&["detach", &volume]).expect_code(0);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0);
    }
    // Nor may another volume be mounted over one that is.
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let other = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &other, dir.to_str().unwrap()]).expect_code(8).expect_stderr("mount point");
}

#[test]
fn a_volume_too_small_for_its_file_system_stays_blank() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    let dir = dir.to_str().unwrap();
    host.envol(&["attach", &volume, dir, "--fs", "xfs"]).expect_code(2).expect_stderr("300 MiB");
    assert_eq!(host.status(&volume)["file_system"], "none");
    assert_eq!(host.json(&["check", &volume])["written_blocks"], 0);
    host.envol(&["attach", &volume, dir, "--fs", "ext4"]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    // And now it has one, it keeps it.
    host.envol(&["attach", &volume, dir, "--fs", "xfs"]).expect_code(2).expect_stderr("ext4");
    host.envol(&["attach", &volume, dir, "--mkfs"]).expect_code(2).expect_stderr("ext4");
    host.envol(&["attach", &volume, dir, "--fs", "btrfs"]).expect_code(2);
}

#[test]
fn a_volume_that_was_written_raw_gets_no_file_system_unasked() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    let dir = dir.to_str().unwrap();
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = File::options().read(true).write(true).open(host.image(&volume)).unwrap();
    image.write_all_at(b"raw data", 60 * MIB).unwrap();
    image.sync_all().unwrap();
    drop(image);
    host.envol(&["detach", &volume]).expect_code(0);

    host.envol(&["attach", &volume, dir]).expect_code(2).expect_stderr("--mkfs");
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let mut bytes = [0; 8];
    File::open(host.image(&volume)).unwrap().read_exact_at(&mut bytes, 60 * MIB).unwrap();
    assert_eq!(&bytes, b"raw data");
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["attach", &volume, dir, "--mkfs"]).expect_code(0);
}

#[test]
fn an_interrupted_mkfs_is_made_anew_only_when_asked() {
    let host = Host::new();
    let volume = host.create(&["--size", "2GiB"]);
    let dir = host.directory("mnt");
    let dir = dir.to_str().unwrap();
    let backing = host.backing(&volume);
    let mut daemon = host.command(ENVOL);
    daemon.arg("--root").arg(host.root()).args(["attach", &volume, dir, "--foreground"]).stderr(Stdio::null());
    let mut daemon = daemon.spawn().unwrap();
    let state = || {
        let inspected = host.json(&["inspect", backing.to_str().unwrap()]);
        inspected["file_system"].as_str().unwrap().to_owned()
    };
    // Looked at without a pause: mkfs takes some ten milliseconds.
    let header = File::open(&backing).unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while !HeaderCopy::BOTH.iter().any(|copy| is_formatting(&header, *copy)) {
        assert!(Instant::now() < until, "mkfs did not begin");
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!(state(), "ext4, not finished", "mkfs was faster than the test");

    let refused = host.envol(&["attach", &volume, dir]).expect_code(2).expect_stderr("--mkfs");
    assert!(refused.stderr.contains("interrupted"), "{}", refused.stderr);
    assert_eq!(state(), "ext4, not finished");
    host.envol(&["attach", &volume, dir, "--mkfs"]).expect_code(0);
    assert_eq!(state(), "ext4");
    fs::write(Path::new(dir).join("file"), "content").unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["attach", &volume, dir]).expect_code(0);
    assert_eq!(fs::read(Path::new(dir).join("file")).unwrap(), b"content");
}

fn is_formatting(image: &File, copy: HeaderCopy) -> bool {
    let mut bytes = [0; SUPERBLOCK_LEN];
    image.read_exact_at(&mut bytes, copy.superblock_offset()).unwrap();
    let superblock = UnverifiedSuperblock::parse(&bytes);
    superblock.is_ok_and(|found| matches!(found.unproven().file_system, FileSystemState::Formatting(_)))
}

// ---- what the tests need ------------------------------------------------------------------------------------------

fn create_on(host: &Host, backing: &Path) -> Ran {
    let backing = backing.to_str().unwrap();
    host.envol(&["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/test", "--backing", backing])
}

/// Under another root directory, with the KMS of this host.
fn create_below(host: &Host, root: &Path, size: &str) -> Ran {
    let mut command = host.command(ENVOL);
    command.arg("--root").arg(root).args(["create", "--db-id", "db-A", "--size", size, "--kms-key", "alias/test"]);
    ran(&command.output().unwrap())
}

/// Every path below, with what shows that it was changed. The local KMS writes its log all the time.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if entry.file_name() == "kms" {
                continue;
            }
            if metadata.is_dir() {
                dirs.push(entry.path());
            }
            let facts = (metadata.mode(), metadata.size(), metadata.mtime(), metadata.mtime_nsec());
            found.insert(entry.path(), facts);
        }
    }
    found
}

/// Only what is no directory: those of a root directory may be made by a create that fails later.
fn files(tree: &BTreeMap<PathBuf, (u32, u64, i64, i64)>) -> Vec<&PathBuf> {
    tree.iter().filter(|(_, facts)| facts.0 & libc::S_IFMT != libc::S_IFDIR).map(|(path, _)| path).collect()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn read_mib(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(MIB).unwrap()];
    File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// LUKS1, as far as blkid looks.
fn luks_header() -> Vec<u8> {
    let mut header = vec![0; 4096];
    header[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x01");
    header[8..11].copy_from_slice(b"aes");
    header[168..204].copy_from_slice(b"12345678-1234-1234-1234-123456789012");
    header
}

/// A DOS partition table with one Linux partition.
fn partition_table() -> Vec<u8> {
    let mut sector = vec![0; 512];
    let entry = [0, 0, 2, 0, 0x83, 0, 0, 0, 0, 8, 0, 0, 0, 0x40, 0, 0];
    sector[440..444].copy_from_slice(&[1, 2, 3, 4]);
    sector[446..462].copy_from_slice(&entry);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn heap_page() -> Vec<u8> {
    let mut page = vec![0; 8192];
    page[..24].copy_from_slice(&[
        0, 0, 0, 0, 0x28, 0x5c, 0x95, 1, 0, 0, 0, 0, 0x1c, 0, 0xd8, 0x1f, 0, 0x20, 4, 0x20, 0, 0, 0, 0,
    ]);
    page
}

/// A block device over a sparse file. Make it before the host, which then goes first.
struct LoopDevice {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl LoopDevice {
    fn new(len: u64) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(len).unwrap();
        let path = run("losetup", &["--find", "--show", file.path().to_str().unwrap()]);
        Self { path: path.into(), file }
    }

    fn content(&self) -> Vec<(u64, Vec<u8>)> {
        run("blockdev", &["--flushbufs", self.path.to_str().unwrap()]);
        data_of(self.file.path())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) {
        let device = File::options().write(true).open(&self.path).unwrap();
        device.write_all_at(bytes, offset).unwrap();
        device.sync_all().unwrap();
    }

    fn write(&self, bytes: &[u8]) {
        self.write_at(bytes, 0);
    }

    fn wipe(&self) {
        run("wipefs", &["--all", self.path.to_str().unwrap()]);
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

/// An ext4 of its own, mounted through a loop device that goes with it.
struct MountedFileSystem {
    dir: TempDir,
    _image: tempfile::NamedTempFile,
}

impl MountedFileSystem {
    fn new(len: u64) -> Self {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(len).unwrap();
        let path = image.path().to_str().unwrap();
        run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-m", "0", path]);
        let dir = TempDir::with_prefix("envol-test-").unwrap();
        run("mount", &["-o", "loop", path, dir.path().to_str().unwrap()]);
        Self { dir, _image: image }
    }
}

impl Drop for MountedFileSystem {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
    }
}
