//! The image file of an attached volume: every byte that was written is there, durable once synced, and everything that
//! is no reading or writing is refused.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use harness::{Host, Ran, ran, wait_until};
use rustix::fs::{FallocateFlags, fallocate};

const MIB: u64 = 1 << 20;

#[test]
fn fio_finds_every_byte_it_wrote() {
    let cached = cached_by_fio("writeback");
    assert!(cached >= 96 * MIB, "the control: {cached}");
}

#[test]
fn fio_finds_every_byte_it_wrote_past_the_cache() {
    // What the jobs with unaligned requests may have brought in.
    let cached = cached_by_fio("none");
    assert!(cached < 48 * MIB, "{cached} bytes of the image are cached");
}

/// How much of the image is in the page cache afterwards.
fn cached_by_fio(mode: &str) -> u64 {
    let host = Host::new();
    let volume = host.create(&["--size", "256MiB"]);
    host.envol(&["attach", &volume, "--raw", "--cache", mode]).expect_code(0);
    let image = host.image(&volume);
    let jobs: [(&str, &[&str]); 7] = [
        ("4k", &["--bs=4k", "--rw=randwrite", "--size=24m", "--iodepth=32"]),
        ("64k", &["--bs=64k", "--rw=randwrite", "--size=64m", "--iodepth=16"]),
        ("mixed", &["--bsrange=512-256k", "--bs_unaligned=1", "--rw=randrw", "--size=48m", "--iodepth=16"]),
        ("sub-block", &["--bs=512", "--rw=randwrite", "--size=2m", "--iodepth=32"]),
        ("sequential with fsync", &["--bs=16k", "--rw=write", "--size=16m", "--fsync=16", "--iodepth=4"]),
        ("two at once", &["--bs=8k", "--rw=randwrite", "--size=16m", "--offset_increment=16m", "--numjobs=2"]),
        // The last: a kernel that takes idle pages away (DAMON_RECLAIM) has no time for them.
        ("1m", &["--bs=1m", "--rw=randwrite", "--size=192m", "--iodepth=8"]),
    ];
    for (name, options) in jobs {
        let mut fio = Command::new("fio");
        fio.current_dir(host.root());
        fio.args([
            "--name=image",
            "--ioengine=libaio",
            "--direct=1",
            "--verify=crc32c",
            "--verify_fatal=1",
            "--verify_state_save=0",
        ]);
        fio.args(["--do_verify=1", "--randseed=4711", "--allow_file_create=0", "--group_reporting"]);
        fio.arg(format!("--filename={}", image.display())).args(options);
        let output = fio.output().expect("fio is not installed; scripts/test.sh installs it");
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !errors.contains("verify:"), "{name}: {text}\n{errors}");
    }
    let mut fincore = Command::new("fincore");
    fincore.args(["--bytes", "--noheadings", "--output=RES"]).arg(host.backing(&volume));
    let cached = ran(&fincore.output().unwrap()).expect_code(0).stdout.trim().parse().unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["check", &volume]).expect_code(0);
    cached
}

/// Four threads, each with a quarter of every block: where they meet, a lost update would show.
#[test]
fn unaligned_access_from_several_threads_equals_a_model() {
    const LEN: usize = 2 << 20;
    const PART: usize = 1024;
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let path = host.image(&volume);
    let write = |thread: usize| {
        let image = open(&path);
        let mut random = Random::new(thread as u64 + 1);
        let mut model = vec![0_u8; LEN];
        for step in 0..1500 {
            let block = random.below(LEN / 4096);
            let at = random.below(PART - 1);
            let len = 1 + random.below(PART - at - 1);
            let offset = block * 4096 + thread * PART + at;
            let byte = u8::try_from(random.below(256)).unwrap();
            let data = vec![byte; len];
            image.write_all_at(&data, offset as u64).unwrap();
            model[offset..offset + len].copy_from_slice(&data);
            if step % 16 == 0 {
                let mut read = vec![0; PART];
                let offset = block * 4096 + thread * PART;
                image.read_exact_at(&mut read, offset as u64).unwrap();
                assert!(read == model[offset..offset + PART], "thread {thread}, block {block}");
            }
        }
        model
    };
    let models: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || write(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut expected = vec![0; LEN];
    for (at, byte) in expected.iter_mut().enumerate() {
        *byte = models[at % 4096 / PART][at];
    }
    let read = |path: &Path| {
        let mut all = vec![0; LEN];
        open(path).read_exact_at(&mut all, 0).unwrap();
        all
    };
    assert!(read(&path) == expected);
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    assert!(read(&host.image(&volume)) == expected, "after attaching again");
}

/// Any mix of writes, holes and zeroed ranges, at any offset, against the same on a plain vector.
#[test]
fn writes_holes_and_zeroed_ranges_equal_a_model() {
    const LEN: usize = 1 << 20;
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let mut model = vec![0_u8; LEN];
    let mut random = Random::new(7);
    for round in 0..4 {
        let image = open(&host.image(&volume));
        for _ in 0..300 {
            let offset = random.below(LEN - 1);
            let longest = if random.below(4) == 0 { LEN } else { 9000 };
            let len = 1 + random.below(longest.min(LEN - offset));
            let range = offset..offset + len;
            match random.below(4) {
                0 => {
                    punch(&image, offset as u64, len as u64).unwrap();
                    model[range].fill(0);
                }
                1 => {
                    fallocate(&image, FallocateFlags::ZERO_RANGE, offset as u64, len as u64).unwrap();
                    model[range].fill(0);
                }
                _ => {
                    let data: Vec<u8> = (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
                    image.write_all_at(&data, offset as u64).unwrap();
                    model[range].copy_from_slice(&data);
                }
            }
        }
        image.sync_all().unwrap();
        let mut read = vec![0; LEN];
        image.read_exact_at(&mut read, 0).unwrap();
        let differs = read.iter().zip(&model).position(|(read, model)| read != model);
        assert_eq!(differs, None, "round {round}: first byte that differs");
        drop(image);
        if round % 2 == 0 {
            host.kill_daemon(&volume);
        } else {
            host.envol(&["detach", &volume]).expect_code(0);
        }
        host.envol(&["check", &volume]).expect_code(0);
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        open(&host.image(&volume)).read_exact_at(&mut read, 0).unwrap();
        assert!(read == model, "round {round}: after attaching again");
    }
}

#[test]
fn what_fsync_acknowledged_outlives_kill_9() {
    const LEN: usize = 64 << 10;
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    for round in 1..=5_u8 {
        let cache = ["writeback", "none"][usize::from(round % 2)];
        host.envol(&["attach", &volume, "--raw", "--cache", cache]).expect_code(0);
        let synced = AtomicU64::new(0);
        let image = open(&host.image(&volume));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Ends with the daemon.
                for slot in 0..64 * MIB / LEN as u64 {
                    let written = image.write_all_at(&slot_content(slot, round, LEN), slot * LEN as u64);
                    if written.and_then(|()| image.sync_data()).is_err() {
                        return;
                    }
                    synced.store(slot + 1, Ordering::Release);
                }
            });
            let goal = u64::from(round) * 7;
            wait_until("some syncs", Duration::from_secs(60), || synced.load(Ordering::Acquire) >= goal);
            host.kill_daemon(&volume);
        });
        drop(image);
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        let image = open(&host.image(&volume));
        let synced = synced.load(Ordering::Acquire);
        assert!(synced > 0);
        for slot in 0..synced {
            let mut read = vec![0; LEN];
            image.read_exact_at(&mut read, slot * LEN as u64).unwrap();
            assert!(read == slot_content(slot, round, LEN), "round {round}: slot {slot} of {synced}");
        }
        drop(image);
        host.envol(&["detach", &volume]).expect_code(0);
        host.envol(&["check", &volume]).expect_code(0);
    }
}

/// Past the page cache a write is answered while it is on its way to the disk; the kernel has it then, and no longer the daemon.
#[test]
fn what_was_answered_past_the_cache_outlives_kill_9() {
    const LEN: usize = 64 << 10;
    const SLOTS: u64 = 16 * MIB / LEN as u64;
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    for round in 1..=5_u8 {
        host.envol(&["attach", &volume, "--raw", "--cache", "none"]).expect_code(0);
        let answered = AtomicU64::new(0);
        let image = open(&host.image(&volume));
        for slot in 0..SLOTS {
            image.write_all_at(&slot_content(slot, 0, LEN), slot * LEN as u64).unwrap();
        }
        image.sync_data().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Ends with the daemon.
                for write in 0_u64.. {
                    let (slot, turn) = (write % SLOTS, u8::try_from(1 + write / SLOTS % 250).unwrap());
                    if image.write_all_at(&slot_content(slot, turn, LEN), slot * LEN as u64).is_err() {
                        return;
                    }
                    answered.store(write + 1, Ordering::Release);
                }
            });
            let goal = u64::from(round) * 300;
            wait_until("some writes", Duration::from_secs(60), || answered.load(Ordering::Acquire) >= goal);
            host.kill_daemon(&volume);
        });
        drop(image);
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        let image = open(&host.image(&volume));
        let answered = answered.load(Ordering::Acquire);
        // One more may have got there, whole or in part.
        for write in answered + 1 - SLOTS..answered {
            let (slot, turn) = (write % SLOTS, u8::try_from(1 + write / SLOTS % 250).unwrap());
            let mut read = vec![0; LEN];
            image.read_exact_at(&mut read, slot * LEN as u64).unwrap();
            assert!(read == slot_content(slot, turn, LEN), "round {round}: write {write} of {answered} is lost");
        }
        drop(image);
        host.envol(&["detach", &volume]).expect_code(0);
    }
}

fn slot_content(slot: u64, round: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![round; len];
    bytes[..8].copy_from_slice(&slot.to_le_bytes());
    bytes
}

#[test]
fn reads_and_writes_at_the_end_are_those_of_a_block_device() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = open(&host.image(&volume));
    let end = 16 * MIB;
    assert_eq!(image.metadata().unwrap().len(), end);
    assert_eq!(image.write_at(&[1; 4096], end - 100).unwrap(), 100);
    assert_eq!(errno(image.write_at(&[1; 10], end)), libc::ENOSPC);
    assert_eq!(errno(image.write_at(&[1; 10], end + 4096)), libc::ENOSPC);
    let mut bytes = [9; 4096];
    assert_eq!(image.read_at(&mut bytes, end - 100).unwrap(), 100);
    assert_eq!(bytes[..100], [1; 100]);
    assert_eq!(image.read_at(&mut bytes, end).unwrap(), 0);
    assert_eq!(image.read_at(&mut bytes, end + MIB).unwrap(), 0);
    // The end is the end, however it is appended to; and the size stays.
    let mut appending = OpenOptions::new().append(true).open(host.image(&volume)).unwrap();
    assert_eq!(errno(appending.write(b"x")), libc::ENOSPC);
    punch(&image, end - 4096, 4 * MIB).unwrap();
    assert_eq!(image.read_at(&mut bytes, end - 4096).unwrap(), 4096);
    assert_eq!(bytes, [0; 4096]);
    assert_eq!(errno(fallocate(&image, FallocateFlags::ZERO_RANGE, end - 4096, 8192)), libc::EFBIG);
    assert_eq!(image.metadata().unwrap().len(), end);
}

#[test]
fn whatever_is_no_reading_or_writing_is_refused() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let path = host.image(&volume);
    let dir = path.parent().unwrap();
    let image = open(&path);
    image.write_all_at(b"kept", 0).unwrap();
    let other = dir.join("other");
    let refusals: [(&str, i32); 16] = [
        ("truncate", errno(image.set_len(8 * MIB))),
        ("truncate to nothing", errno(image.set_len(0))),
        ("extend", errno(image.set_len(32 * MIB))),
        ("O_TRUNC", errno(OpenOptions::new().write(true).truncate(true).open(&path))),
        ("chmod", errno(fs::set_permissions(&path, fs::Permissions::from_mode(0o666)))),
        ("chown", errno(std::os::unix::fs::chown(&path, Some(1), None))),
        ("chgrp", errno(std::os::unix::fs::chown(&path, None, Some(1)))),
        ("chmod of the directory", errno(fs::set_permissions(dir, fs::Permissions::from_mode(0o755)))),
        ("unlink", errno(fs::remove_file(&path))),
        ("create", errno(File::create(&other))),
        ("mkdir", errno(fs::create_dir(&other))),
        ("mknod", errno(mkfifo(&other))),
        ("rename", errno(fs::rename(&path, &other))),
        ("link", errno(fs::hard_link(&path, &other))),
        ("symlink", errno(std::os::unix::fs::symlink("image", &other))),
        ("rmdir", errno(fs::remove_dir(dir.join("image")))),
    ];
    for (what, errno) in refusals {
        let expected = if what == "rmdir" { libc::ENOTDIR } else { libc::EPERM };
        assert_eq!(errno, expected, "{what}");
    }
    for mode in [FallocateFlags::empty(), FallocateFlags::KEEP_SIZE, FallocateFlags::COLLAPSE_RANGE] {
        assert_eq!(errno(fallocate(&image, mode, 0, 4096)), libc::EOPNOTSUPP, "{mode:?}");
    }
    assert_eq!(errno(open(&path).read_at(&mut [0; 1], u64::MAX)), libc::EINVAL);
    let names: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["image"]);

    // The controls: what changes nothing is allowed, and all is as it was.
    image.set_len(16 * MIB).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.len(), metadata.mode() & 0o7777, metadata.uid()), (16 * MIB, 0o600, 0));
    let mut bytes = [0; 4];
    image.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"kept");
}

#[test]
fn the_image_is_not_cached_in_the_clear() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = open(&host.image(&volume));
    image.write_all_at(&[1; 4096], 0).unwrap();
    // Two descriptors, one of them without a cache by its own wish, see each other at once.
    let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(host.image(&volume)).unwrap();
    let mut aligned = Aligned([0; 4096]);
    direct.read_exact_at(&mut aligned.0, 0).unwrap();
    assert_eq!(aligned.0, [1; 4096]);
    // A file of direct I/O alone cannot be mapped to be shared.
    let mapped = Command::new("python3")
        .arg("-c")
        .arg("import mmap, os, sys; mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 4096, mmap.MAP_SHARED)")
        .arg(host.image(&volume))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!mapped.success(), "the image was mapped");
}

#[repr(align(4096))]
struct Aligned([u8; 4096]);

/// A user without rights or a login session: no root in any step, no runtime directory but below the root directory.
#[test]
fn raw_works_without_root() {
    let host = Host::unprivileged();
    let volume = host.create(&["--size", "16MiB"]);
    let attached = host.json(&["attach", &volume, "--raw"]);
    let image = attached["image"].as_str().unwrap().to_owned();
    assert_eq!(host.status(&volume)["state"], "in-use");
    let shell =
        |script: &str| -> Ran { ran(&host.command("sh").args(["-ec", script, "sh", &image]).output().unwrap()) };
    shell("printf marker-4711 | dd of=\"$1\" bs=4k seek=3 conv=notrunc,fsync").expect_code(0);
    let read = "dd if=\"$1\" bs=4k skip=3 count=1 | head -c 11";
    assert_eq!(shell(read).expect_code(0).stdout, "marker-4711");
    assert_eq!(shell("stat -c %a:%u \"$1\"").expect_code(0).stdout.trim(), "600:65534");
    host.envol(&["detach", &volume]).expect_code(0);
    shell("test ! -e \"$1\"").expect_code(0);
    host.envol(&["check", &volume]).expect_code(0);

    // As for root: what was written is there, also when the daemon was killed.
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    host.kill_daemon(&volume);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    assert_eq!(shell(read).expect_code(0).stdout, "marker-4711");
    host.envol(&["attach", &volume, "--raw"]).expect_code(8);
    host.envol(&["detach", &volume]).expect_code(0);

    // A file system needs root, and says so.
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(2).expect_stderr("--raw");
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    assert!(!host.root().join("volumes").join(&volume).exists());
}

fn open(image: &Path) -> File {
    File::options().read(true).write(true).open(image).unwrap()
}

fn punch(image: &File, offset: u64, len: u64) -> rustix::io::Result<()> {
    fallocate(image, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len)
}

fn mkfifo(path: &Path) -> std::io::Result<()> {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &*path, rustix::fs::FileType::Fifo, 0o600.into(), 0).map_err(Into::into)
}

/// 0: it was not refused.
fn errno<T, E: Into<std::io::Error>>(result: Result<T, E>) -> i32 {
    result.err().map_or(0, |error| error.into().raw_os_error().unwrap_or(-1))
}

/// xorshift64: the same sequence in every run.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}
