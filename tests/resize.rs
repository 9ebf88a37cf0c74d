//! A volume becomes larger, while it is used or not, and whatever happens meanwhile it has its old size or the new one.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::postgres::Postgres;
use harness::snapshots::{content, image, noise, write};
use harness::{Host, Ran, ran, wait_until};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const DEADLINE: Duration = Duration::from_secs(60);

fn size_of(host: &Host, volume: &str) -> u64 {
    host.status(volume)["size_bytes"].as_u64().unwrap()
}

/// Of the file system that is mounted there, without what it keeps for itself.
fn room_at(dir: &Path) -> u64 {
    let found = rustix::fs::statvfs(dir).unwrap();
    found.f_blocks * found.f_frsize
}

fn attach(host: &Host, volume: &str, dir: &Path, more: &[&str]) -> Ran {
    host.envol(&[&["attach", volume, dir.to_str().unwrap()], more].concat()).expect_code(0)
}

/// A mounted ext4 grows for whoever has CAP_SYS_RESOURCE, which a container may lack.
fn ext4_grows_mounted() -> bool {
    envol::host::file_system::grows_mounted(envol::format::FileSystemKind::Ext4)
}

/// `envol resize` of a volume that is attached at `dir` with ext4: online; or, where the host does not allow that, refused without a
/// change, and then while it is away, as the refusal says.
fn resize_ext4(host: &Host, volume: &str, dir: &Path, size: &str) {
    if ext4_grows_mounted() {
        host.envol(&["resize", volume, size]).expect_code(0);
        return;
    }
    let before = size_on_disk(host, volume);
    host.envol(&["resize", volume, size]).expect_code(9).expect_stderr("CAP_SYS_RESOURCE");
    assert_eq!(size_on_disk(host, volume), before);
    host.envol(&["detach", volume]).expect_code(0);
    host.envol(&["resize", volume, size]).expect_code(0);
    attach(host, volume, dir, &[]);
}

/// What the programs of the file system itself say of it, on a loop device over the image.
fn check_file_system(host: &Host, volume: &str, kind: &str) {
    on_a_loop_device(host, volume, |device| {
        let checked = match kind {
            "ext4" => Command::new("e2fsck").args(["-f", "-n", device]).output(),
            _ => Command::new("xfs_repair").args(["-n", "-P", device]).output(),
        };
        ran(&checked.unwrap()).expect_code(0);
    });
}

/// Over the image of a volume that is detached before and after.
fn on_a_loop_device(host: &Host, volume: &str, look: impl FnOnce(&str)) {
    host.envol(&["attach", volume, "--raw"]).expect_code(0);
    let device = Loop::over(&host.image(volume));
    look(&device.0);
    drop(device);
    host.envol(&["detach", volume]).expect_code(0);
}

fn pgbench_sums(postgres: &Postgres) -> Vec<String> {
    let tables = [("abalance", "accounts"), ("bbalance", "branches"), ("tbalance", "tellers"), ("delta", "history")];
    tables.iter().map(|(sum, of)| postgres.query(&format!("SELECT sum({sum}) FROM pgbench_{of}"))).collect()
}

fn end(postgres: &Postgres, load: &mut Child) {
    postgres.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbench'");
    load.wait().unwrap();
}

fn grows_a_thousandfold_under_load(kind: &str) {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let dir = host.directory("mnt");
    attach(&host, &volume, &dir, &["--fs", kind, "--owner", "postgres"]);
    let postgres = Postgres::init(&dir);
    postgres.start();
    postgres.run("pgbench", &["-i", "-q", "-s", "2"]).expect_code(0);
    let mut load = postgres.command("pgbench");
    let load = load.args(["-n", "-c", "4", "-T", "3600"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut load = load.spawn().unwrap();
    let done = || postgres.query("SELECT count(*) FROM pgbench_history").parse::<u64>().unwrap();
    wait_until("work before", DEADLINE, || done() > 100);

    if kind == "ext4" && !ext4_grows_mounted() {
        host.envol(&["resize", &volume, "1100GiB"]).expect_code(9).expect_stderr("CAP_SYS_RESOURCE");
        assert_eq!(size_on_disk(&host, &volume), GIB, "a refusal changes nothing");
        end(&postgres, &mut load);
        postgres.stop();
        host.envol(&["detach", &volume]).expect_code(0);
        assert_eq!(host.json(&["resize", &volume, "1100GiB"])["file_system"], "at-next-attach");
        attach(&host, &volume, &dir, &[]);
        postgres.start();
    } else {
        let resized = host.json(&["resize", &volume, "1100GiB"]);
        let expected = serde_json::json!({
            "volume_id": volume, "size_bytes": 1100 * GIB, "previous_size_bytes": GIB, "file_system": "grown",
        });
        assert_eq!(resized, expected);
        let after_growth = done();
        wait_until("work after", DEADLINE, || done() > after_growth + 100);
        assert!(load.try_wait().unwrap().is_none(), "pgbench went on through all of it");
        end(&postgres, &mut load);
    }

    assert_eq!(size_of(&host, &volume), 1100 * GIB);
    assert_eq!(host.json(&["list"])["volumes"][0]["size_bytes"], 1100 * GIB);
    assert_eq!(host.json(&["inspect", host.backing(&volume).to_str().unwrap()])["size_bytes"], 1100 * GIB);
    assert!(room_at(&dir) > 1050 * GIB, "{}", room_at(&dir));
    let backing = fs::metadata(host.backing(&volume)).unwrap();
    assert_eq!(backing.len(), MIB + 2 * 32 * MIB + 1100 * GIB);
    assert!(backing.blocks() * 512 < 4 * GIB, "the image stays sparse: {}", backing.blocks() * 512);

    let sums = pgbench_sums(&postgres);
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    postgres.check();
    postgres.stop();
    host.envol(&["detach", &volume]).expect_code(0);
    check_file_system(&host, &volume, kind);
    attach(&host, &volume, &dir, &[]);
    assert!(room_at(&dir) > 1050 * GIB);
    let postgres = Postgres::at(&dir);
    postgres.start();
    assert_eq!(pgbench_sums(&postgres), sums);
    postgres.stop();
    host.envol(&["detach", &volume]).expect_code(0);
}

/// mke2fs leaves room for the descriptors of a thousandfold; the kernel needs meta_bg for the rest.
#[test]
fn ext4_grows_more_than_a_thousandfold_while_postgres_works_on_it() {
    grows_a_thousandfold_under_load("ext4");
}

#[test]
fn xfs_grows_more_than_a_thousandfold_while_postgres_works_on_it() {
    grows_a_thousandfold_under_load("xfs");
}

#[test]
fn an_image_that_is_open_becomes_larger_over_a_region_and_back_it_reads_the_same() {
    let host = Host::new();
    let (old, new) = (TIB - 8192, 2 * TIB + 16 * MIB);
    let volume = host.create(&["--size", &old.to_string()]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, old - MIB, &noise(1, 1 << 20));
    let open = image(&host, &volume);
    assert_eq!(open.metadata().unwrap().len(), old);
    assert_eq!(open.write_at(&[1; 4096], old).unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    host.envol(&["resize", &volume, &new.to_string()]).expect_code(0).expect_stdout("grown from");
    assert_eq!(open.metadata().unwrap().len(), new, "who has it open sees it");
    let places = [old - 4096, 2 * TIB - 8192, new - (16 << 10)];
    for (seed, at) in (2..).zip(places) {
        open.write_all_at(&noise(seed, 16 << 10), at).unwrap();
    }
    open.sync_all().unwrap();
    drop(open);
    let same = |host: &Host| {
        let file = image(host, &volume);
        assert_eq!(file.metadata().unwrap().len(), new);
        for (seed, at) in (2..).zip(places) {
            let mut found = vec![0; 16 << 10];
            file.read_exact_at(&mut found, at).unwrap();
            assert!(found == noise(seed, 16 << 10), "at {at}");
        }
        let mut found = vec![0; (1 << 20) - 4096];
        file.read_exact_at(&mut found, old - MIB).unwrap();
        assert!(found == noise(1, 1 << 20)[..found.len()]);
    };
    same(&host);
    host.kill_daemon(&volume);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    same(&host);
    host.envol(&["detach", &volume]).expect_code(0);
    assert_eq!(host.envol(&["check", &volume]).code, 0);
}

#[test]
fn a_volume_that_is_away_grows_and_its_file_system_follows_at_the_next_attach() {
    // An xfs keeps its allocation groups: thousands of them would be slow.
    for (kind, size) in [("ext4", "512MiB"), ("xfs", "40GiB")] {
        let host = Host::new();
        let volume = host.create(&["--size", size]);
        let dir = host.directory("mnt");
        attach(&host, &volume, &dir, &["--fs", kind]);
        fs::write(dir.join("kept"), noise(1, 1 << 20)).unwrap();
        host.envol(&["detach", &volume]).expect_code(0);
        let resized = host.json(&["resize", &volume, "1030GiB"]);
        assert_eq!(resized["size_bytes"], 1030 * GIB);
        assert_eq!(resized["file_system"], "at-next-attach");
        assert_eq!(host.status(&volume)["state"], "available");
        attach(&host, &volume, &dir, &[]);
        assert!(room_at(&dir) > 900 * GIB, "{kind}: {}", room_at(&dir));
        assert!(fs::read(dir.join("kept")).unwrap() == noise(1, 1 << 20));
        // Done is done, and it says so.
        let again = host.json(&["resize", &volume, "1030GiB"]);
        assert_eq!((&again["previous_size_bytes"], &again["file_system"]), (&(1030 * GIB).into(), &"unchanged".into()));
        host.envol(&["resize", &volume, "1030GiB"]).expect_code(0).expect_stdout("already");
        host.envol(&["detach", &volume]).expect_code(0);
        host.envol(&["resize", &volume, "1030GiB"]).expect_code(0).expect_stdout("already");
        check_file_system(&host, &volume, kind);
    }
}

#[test]
fn a_larger_volume_of_a_snapshot_has_a_larger_file_system() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    attach(&host, &volume, &dir, &[]);
    fs::write(dir.join("kept"), b"yes").unwrap();
    let before = room_at(&dir);
    let snapshot = host.snapshot(&volume, &[])["snapshot_id"].as_str().unwrap().to_owned();
    let (same, larger) = (host.restore(&snapshot, &[]), host.restore(&snapshot, &["--size", "256MiB"]));
    for (volume, name, is_larger) in [(same, "same", false), (larger, "larger", true)] {
        let dir = host.directory(name);
        attach(&host, &volume, &dir, &[]);
        assert_eq!(fs::read(dir.join("kept")).unwrap(), b"yes");
        assert_eq!(room_at(&dir) > 3 * before, is_larger, "{name}: {before} {}", room_at(&dir));
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    for attached in [false, true] {
        if attached {
            host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        }
        host.envol(&["resize", &volume, "32MiB"]).expect_code(2).expect_stderr("does not shrink").expect_stderr("dump");
        host.envol(&["resize", &volume, "67108865"]).expect_code(2).expect_stderr("multiple of 4096");
        host.envol(&["resize", &volume, "65TiB"]).expect_code(2).expect_stderr("64 TiB");
        host.envol(&["resize", &volume, "17TiB"]).expect_code(2).expect_stderr("ext4 ends a file below 16 TiB");
        assert_eq!(size_of(&host, &volume), 64 * MIB);
        assert_eq!(fs::metadata(host.backing(&volume)).unwrap().len(), (1 + 32 + 64) * MIB);
    }
    host.envol(&["resize", "vol-none", "1GiB"]).expect_code(3);
    // The control.
    host.envol(&["resize", &volume, "65MiB"]).expect_code(0);
    assert_eq!(size_of(&host, &volume), 65 * MIB);
}

#[test]
fn a_new_region_needs_kms_and_a_no_changes_nothing() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    // It must not be told of the revocation by a probe.
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "1h"]).expect_code(0);
    let unchanged = |size: u64| {
        assert_eq!(size_of(&host, &volume), size);
        assert_eq!(image(&host, &volume).metadata().unwrap().len(), size);
        assert_eq!(fs::metadata(host.backing(&volume)).unwrap().len(), 33 * MIB + size);
        assert_eq!(host.status(&volume)["state"], "in-use");
    };
    host.disable_key();
    let refused = host.envol(&["resize", &volume, "1025GiB"]).expect_code(4);
    refused.expect_stderr("DisabledException").expect_stderr("Nothing was changed");
    unchanged(64 * MIB);
    host.stop_kms();
    host.envol(&["resize", &volume, "1025GiB"]).expect_code(5).expect_stderr("Nothing was changed");
    unchanged(64 * MIB);
    // The control: within a region nobody is asked.
    host.envol(&["resize", &volume, "128MiB"]).expect_code(0);
    unchanged(128 * MIB);
    host.start_kms();
    host.enable_key();
    host.envol(&["resize", &volume, "1025GiB"]).expect_code(0);
    assert_eq!(size_of(&host, &volume), 1025 * GIB);
    // Away, it takes the key to prove the header.
    host.envol(&["detach", &volume]).expect_code(0);
    host.disable_key();
    host.envol(&["resize", &volume, "1026GiB"]).expect_code(4).expect_stderr("DisabledException");
    assert_eq!(size_of(&host, &volume), 1025 * GIB);
    host.enable_key();
    host.envol(&["resize", &volume, "1026GiB"]).expect_code(0);
}

#[test]
fn a_terminal_volume_is_not_resized() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "1s"]).expect_code(0);
    host.disable_key();
    wait_until("terminal", DEADLINE, || host.status(&volume)["state"] == "terminal");
    host.envol(&["resize", &volume, "128MiB"]).expect_code(6);
    wait_until("the end of the daemon", DEADLINE, || host.status(&volume)["pid"].is_null());
    host.enable_key();
    host.envol(&["resize", &volume, "128MiB"]).expect_code(6).expect_stderr("terminal");
    assert_eq!(size_of(&host, &volume), 64 * MIB);
}

#[test]
fn a_block_device_has_to_be_large_enough_first() {
    let host = Host::new();
    let file = host.root().join("device");
    File::create(&file).unwrap().set_len((1 + 32 + 64) * MIB).unwrap();
    let device = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().unwrap();
    let device = Loop(ran(&device).expect_code(0).stdout.trim().to_owned());
    let volume = host.create(&["--size", "64MiB", "--backing", &device.0]);
    let dir = host.directory("mnt");
    host.envol(&["resize", &volume, "256MiB"]).expect_code(2).expect_stderr("use a larger device");
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    host.envol(&["resize", &volume, "256MiB"]).expect_code(2).expect_stderr("use a larger device");
    assert_eq!(size_of(&host, &volume), 64 * MIB);
    host.envol(&["detach", &volume]).expect_code(0);
    attach(&host, &volume, &dir, &[]);
    fs::write(dir.join("kept"), b"yes").unwrap();
    // As lvextend would.
    File::options().write(true).open(&file).unwrap().set_len((1 + 32 + 256) * MIB).unwrap();
    assert!(Command::new("losetup").args(["--set-capacity", &device.0]).status().unwrap().success());
    resize_ext4(&host, &volume, &dir, "256MiB");
    assert!(room_at(&dir) > 200 * MIB);
    assert_eq!(fs::read(dir.join("kept")).unwrap(), b"yes");
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
}

/// A loop device.
struct Loop(String);

impl Loop {
    fn over(file: &Path) -> Self {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        Self(ran(&made).expect_code(0).stdout.trim().to_owned())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_missing_program_is_named_before_anything_is_changed() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    // In a mount namespace where there is no such file.
    let mut attach = host.command("unshare");
    attach.args(["--mount", "sh", "-ec"]);
    attach.arg("mount --bind /dev/null /usr/sbin/resize2fs; exec \"$@\"").args(["sh", harness::ENVOL, "--root"]);
    let attach = attach.arg(host.root()).args(["attach", &volume]).arg(&dir).output().unwrap();
    ran(&attach).expect_code(0);
    let refused = host.envol(&["resize", &volume, "128MiB"]).expect_code(9);
    refused.expect_stderr("resize2fs").expect_stderr("e2fsprogs");
    assert_eq!(size_of(&host, &volume), 64 * MIB);
    host.envol(&["detach", &volume]).expect_code(0);
    // The control.
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    resize_ext4(&host, &volume, &dir, "128MiB");
    assert_eq!(size_of(&host, &volume), 128 * MIB);
}

fn begin_resize(host: &Host, volume: &str, size: &str) -> Child {
    let mut resize = host.command(harness::ENVOL);
    let resize = resize.arg("--root").arg(host.root()).args(["resize", volume, size]);
    resize.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Of the header itself, and not what a daemon says.
fn size_on_disk(host: &Host, volume: &str) -> u64 {
    host.json(&["inspect", host.backing(volume).to_str().unwrap()])["size_bytes"].as_u64().unwrap()
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_leaves_the_old_size_or_the_new_one() {
    let host = Host::new();
    let volume = host.create(&["--size", "200GiB"]);
    let dir = host.directory("mnt");
    attach(&host, &volume, &dir, &["--fs", "xfs"]);
    fs::write(dir.join("kept"), noise(1, 1 << 20)).unwrap();
    File::open(dir.join("kept")).unwrap().sync_all().unwrap();
    // What is seen of the growth when the kill comes; each over a region.
    type Seen = fn(&Host, &str, u64) -> bool;
    let moments: [(&str, Seen); 3] = [
        ("the command was heard", |_, _, _| true),
        ("the image is longer", |host, volume, size| fs::metadata(host.backing(volume)).unwrap().len() > size),
        ("the header is new", |host, volume, size| size_on_disk(host, volume) == size),
    ];
    let mut old = 200 * GIB;
    for (number, (moment, seen)) in (1..).zip(moments) {
        let new = number * TIB + 200 * GIB;
        let mut resize = begin_resize(&host, &volume, &new.to_string());
        wait_until(moment, DEADLINE, || seen(&host, &volume, new));
        host.kill_daemon(&volume);
        let _ = resize.wait();
        let found = size_on_disk(&host, &volume);
        assert!(found == old || found == new, "{moment}: {found}");
        attach(&host, &volume, &dir, &[]);
        assert_eq!(size_of(&host, &volume), found, "{moment}");
        assert!(fs::read(dir.join("kept")).unwrap() == noise(1, 1 << 20), "{moment}");
        // The same command finishes it.
        host.envol(&["resize", &volume, &new.to_string()]).expect_code(0);
        assert_eq!(size_of(&host, &volume), new);
        assert!(room_at(&dir) > new / 10 * 9, "{moment}: {}", room_at(&dir));
        old = new;
    }
    host.envol(&["detach", &volume]).expect_code(0);
    check_file_system(&host, &volume, "xfs");
}

/// xfs writes its other superblocks last; xfs_repair takes the size that most of them say.
#[test]
fn a_crash_in_the_middle_of_a_growth_leaves_no_superblock_of_the_old_size() {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let dir = host.directory("mnt");
    attach(&host, &volume, &dir, &["--fs", "xfs"]);
    host.envol(&["resize", &volume, "8GiB"]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    check_file_system(&host, &volume, "xfs");
    for cut_at in [1, 31] {
        on_a_loop_device(&host, &volume, |device| {
            for group in cut_at..32 {
                let old_size = ["-x", "-c", &format!("sb {group}"), "-c", "write -d dblocks 262144"].map(str::to_owned);
                ran(&Command::new("xfs_db").args(old_size).arg(device).output().unwrap()).expect_code(0);
            }
            // The control.
            let found = Command::new("xfs_repair").args(["-n", device]).output().unwrap();
            assert!(!found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
        });
        attach(&host, &volume, &dir, &[]);
        host.envol(&["detach", &volume]).expect_code(0);
        check_file_system(&host, &volume, "xfs");
    }
}

/// The kernel drops what it hears of an image's size while reads and writes of it end.
#[test]
fn a_volume_that_is_never_at_rest_grows() {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let dir = host.directory("mnt");
    attach(&host, &volume, &dir, &["--fs", "xfs"]);
    let file = dir.join("load");
    let mut load = Command::new("fio");
    load.args("--name=load --size=64m --rw=randrw --bs=4k --ioengine=libaio --iodepth=32 --direct=1".split(' '));
    load.args(["--time_based", "--runtime=3600", "--filename", file.to_str().unwrap()]);
    let mut load = Load(load.stdout(Stdio::null()).spawn().unwrap());
    let requests = || host.status(&volume)["io"]["write"]["requests"].as_u64().unwrap();
    for size in 2..=20 {
        let before = requests();
        wait_until("the load", DEADLINE, || requests() > before + 1000);
        assert_eq!(host.json(&["resize", &volume, &format!("{size}GiB")])["file_system"], "grown");
        assert!(room_at(&dir) > size * GIB / 10 * 9);
    }
    assert!(load.0.try_wait().unwrap().is_none(), "it was under load through all of it");
    drop(load);
    host.envol(&["detach", &volume]).expect_code(0);
    check_file_system(&host, &volume, "xfs");
}

struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_command_that_is_killed_does_not_stop_what_it_began() {
    let host = Host::new();
    let volume = host.create(&["--size", "200GiB"]);
    let dir = host.directory("mnt");
    attach(&host, &volume, &dir, &["--fs", "xfs"]);
    let new = TIB + 200 * GIB;
    let mut resize = begin_resize(&host, &volume, &new.to_string());
    wait_until("the new header", DEADLINE, || size_on_disk(&host, &volume) == new);
    let _ = resize.kill();
    resize.wait().unwrap();
    // Busy, as long as that is under way.
    wait_until("the end of it", DEADLINE, || host.envol(&["resize", &volume, &new.to_string()]).code == 0);
    assert!(room_at(&dir) > new / 10 * 9);

    // And one that works itself, on a volume that is away.
    host.envol(&["detach", &volume]).expect_code(0);
    let newer = 2 * TIB + 200 * GIB;
    let mut resize = begin_resize(&host, &volume, &newer.to_string());
    wait_until("a longer image", DEADLINE, || fs::metadata(host.backing(&volume)).unwrap().len() > newer);
    let _ = resize.kill();
    resize.wait().unwrap();
    let found = size_on_disk(&host, &volume);
    assert!(found == new || found == newer, "{found}");
    host.envol(&["resize", &volume, &newer.to_string()]).expect_code(0);
    attach(&host, &volume, &dir, &[]);
    assert!(room_at(&dir) > newer / 10 * 9);
}

#[test]
fn snapshots_before_and_after_a_growth_are_right_and_incremental() {
    let host = Host::new();
    // The last chunk is a part of one, which becomes whole.
    let sizes = [64 * MIB + 8192, 96 * MIB, 130 * MIB + 4096];
    let volume = host.create(&["--size", &sizes[0].to_string()]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 20 << 20));
    write(&host, &volume, sizes[0] - 4096, &noise(2, 4096));
    let mut moments = Vec::new();
    let mut take = |expected_reads: std::ops::RangeInclusive<u64>| {
        let before = content(&host.image(&volume));
        let snapshot = host.snapshot(&volume, &[]);
        let read = snapshot["read_bytes"].as_u64().unwrap();
        assert!(expected_reads.contains(&read), "{read} of {expected_reads:?}: {snapshot}");
        moments.push((snapshot["snapshot_id"].as_str().unwrap().to_owned(), snapshot["size_bytes"].clone(), before));
    };
    take(20 * MIB..=21 * MIB);
    // While it is attached.
    host.envol(&["resize", &volume, &sizes[1].to_string()]).expect_code(0);
    take(0..=0);
    write(&host, &volume, sizes[0] - 2048, &noise(3, 10_000));
    write(&host, &volume, sizes[1] - MIB, &noise(4, 1 << 20));
    take(MIB..=3 * MIB);
    // While it is away.
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["resize", &volume, &sizes[2].to_string()]).expect_code(0);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    take(0..=0);
    write(&host, &volume, sizes[2] - 4096, &noise(5, 4096));
    take(4096..=MIB);
    let of: Vec<_> = moments.iter().map(|(_, size, _)| size.as_u64().unwrap()).collect();
    assert_eq!(of, [sizes[0], sizes[1], sizes[1], sizes[2], sizes[2]]);
    for (snapshot, size, before) in &moments {
        assert_eq!(host.content_of_snapshot(snapshot, &[]), *before, "{snapshot}");
        let restored = host.restore(snapshot, &[]);
        assert_eq!(size_of(&host, &restored), size.as_u64().unwrap());
        host.envol(&["delete", &restored, "--yes"]).expect_code(0);
    }
}

#[test]
fn a_volume_may_grow_while_a_snapshot_of_it_is_taken() {
    let host = Host::new();
    let (old, new) = (64 * MIB + 4096, 128 * MIB);
    let volume = host.create(&["--size", &old.to_string()]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    write(&host, &volume, 0, &noise(1, 48 << 20));
    write(&host, &volume, old - 4096, &noise(2, 4096));
    let before = content(&host.image(&volume));
    let mut snapshot = host.command(harness::ENVOL);
    let snapshot = snapshot.arg("--json").arg("--root").arg(host.root());
    let snapshot = snapshot.args(["snapshot", "create", &volume, "--no-compression", "--bandwidth", "8MiB"]);
    let mut snapshot = snapshot.stdout(Stdio::piped()).spawn().unwrap();
    // Its spill is there from before its moment; packs come after it.
    wait_until("a pack", DEADLINE, || {
        harness::snapshots::objects(&host.store()).iter().any(|(path, _)| path.to_string_lossy().contains("/packs/"))
    });
    host.envol(&["resize", &volume, &new.to_string()]).expect_code(0);
    // In the chunk where the old end was, and behind it.
    write(&host, &volume, old - 4096, &noise(3, 64 << 10));
    write(&host, &volume, new - MIB, &noise(4, 1 << 20));
    assert!(snapshot.try_wait().unwrap().is_none(), "it is still being taken");
    let taken = ran(&snapshot.wait_with_output().unwrap()).expect_code(0);
    let taken: serde_json::Value = serde_json::from_str(&taken.stdout).unwrap();
    assert_eq!(taken["size_bytes"], old);
    assert_eq!(host.content_of_snapshot(taken["snapshot_id"].as_str().unwrap(), &[]), before);

    let now = content(&host.image(&volume));
    let next = host.snapshot(&volume, &[]);
    assert_eq!((&next["size_bytes"], &next["base_snapshot_id"]), (&new.into(), &taken["snapshot_id"]));
    assert!(next["read_bytes"].as_u64().unwrap() < 3 * MIB, "{next}");
    assert_eq!(host.content_of_snapshot(next["snapshot_id"].as_str().unwrap(), &[]), now);
}
