//! A block that was written and is gone from the backing store is an error that names it, never zeros; a block that was
//! never written, or was discarded, is zeros and no error.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use envol::format::Geometry;
use harness::{Host, wait_until};
use rustix::fs::{FallocateFlags, fallocate};

const BLOCK: u64 = 4096;
const MIB: u64 = 1 << 20;

#[test]
fn a_hole_under_written_blocks_is_an_error_that_names_the_block() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = open(&host.image(&volume));
    for block in 0..64 {
        image.write_all_at(&pattern(block), block * BLOCK).unwrap();
    }
    image.sync_all().unwrap();
    drop(image);
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["check", &volume]).expect_code(0);

    punch_backing(&host, &volume, 10, 2);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = open(&host.image(&volume));
    for block in 0..64 {
        let read = read(&image, block * BLOCK, 4096);
        if (10..12).contains(&block) {
            assert_eq!(read, Err(libc::EIO), "block {block}");
        } else {
            assert_eq!(read.as_deref(), Ok(&pattern(block)[..]), "block {block}");
        }
    }
    let log = fs::read_to_string(host.root().join("volumes").join(&volume).join("daemon.log")).unwrap();
    for block in [10, 11] {
        assert!(log.contains(&format!("block {block} ")), "block {block} is not named: {log}");
    }
    assert!(!log.contains("block 9 ") && !log.contains("block 12 "), "{log}");

    // No read that touches it succeeds, however it lies; none beside it fails.
    assert_eq!(read(&image, 0, 64 * 4096), Err(libc::EIO));
    assert_eq!(read(&image, 10 * BLOCK - 1, 2), Err(libc::EIO));
    assert_eq!(read(&image, 12 * BLOCK - 1, 1), Err(libc::EIO));
    assert_eq!(read(&image, 10 * BLOCK - 1, 1).unwrap(), pattern(9)[4095..]);
    assert_eq!(read(&image, 12 * BLOCK, 1).unwrap(), pattern(12)[..1]);
    // Part of a lost block cannot be written: the rest would be made up.
    assert_eq!(image.write_at(b"part", 10 * BLOCK + 7).unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(read(&image, 10 * BLOCK, 4096), Err(libc::EIO));

    let checked = host.envol(&["check", &volume]).expect_code(7);
    for block in [10, 11] {
        assert!(checked.stdout.contains(&format!("block {block} ")), "{}", checked.stdout);
    }
    let report: serde_json::Value =
        serde_json::from_str(host.envol(&["--json", "check", &volume]).expect_code(7).stdout.lines().next().unwrap())
            .unwrap();
    assert_eq!((report["lost_blocks"].as_u64(), report["sound"].as_bool()), (Some(2), Some(false)));

    // Written anew as a whole it is a block like any other; given back it is zeros.
    image.write_all_at(&pattern(99), 10 * BLOCK).unwrap();
    punch_image(&image, 11 * BLOCK, BLOCK);
    image.sync_all().unwrap();
    assert_eq!(read(&image, 10 * BLOCK, 4096).unwrap(), pattern(99));
    assert_eq!(read(&image, 11 * BLOCK, 4096).unwrap(), [0; 4096]);
    let report = host.json(&["check", &volume]);
    assert_eq!((report["lost_blocks"].as_u64(), report["written_blocks"].as_u64()), (Some(0), Some(63)));
}

#[test]
fn a_hole_under_a_served_volume_is_noticed_at_the_next_read() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = open(&host.image(&volume));
    image.write_all_at(&pattern(5), 5 * BLOCK).unwrap();
    image.sync_all().unwrap();
    assert_eq!(read(&image, 5 * BLOCK, 4096).unwrap(), pattern(5));
    punch_backing(&host, &volume, 5, 1);
    assert_eq!(read(&image, 5 * BLOCK, 4096), Err(libc::EIO));
    // The volume goes on with what it has.
    image.write_all_at(&pattern(6), 6 * BLOCK).unwrap();
    image.sync_all().unwrap();
    assert_eq!(read(&image, 6 * BLOCK, 4096).unwrap(), pattern(6));
}

#[test]
fn written_zeros_are_not_a_lost_block() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = open(&host.image(&volume));
    image.write_all_at(&[0; 4096], 7 * BLOCK).unwrap();
    image.sync_all().unwrap();
    assert_eq!(read(&image, 7 * BLOCK, 4096).unwrap(), [0; 4096]);
    drop(image);
    host.envol(&["detach", &volume]).expect_code(0);
    let report = host.json(&["check", &volume]);
    assert_eq!(report["written_blocks"], 1);
    punch_backing(&host, &volume, 7, 1);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    assert_eq!(read(&open(&host.image(&volume)), 7 * BLOCK, 4096), Err(libc::EIO));
}

#[test]
fn what_was_never_written_or_was_discarded_reads_as_zeros_also_after_a_crash() {
    let host = Host::new();
    let volume = host.create(&["--size", "256MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = open(&host.image(&volume));
    // Around the border of two map pages, 128 MiB.
    let border = 128 * MIB / BLOCK;
    for block in border - 32..border + 32 {
        image.write_all_at(&pattern(block), block * BLOCK).unwrap();
    }
    image.sync_all().unwrap();
    // Its first and last block only in part.
    punch_image(&image, (border - 16) * BLOCK + 100, 32 * BLOCK);
    drop(image);
    host.kill_daemon(&volume);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);

    let image = open(&host.image(&volume));
    for block in border - 40..border + 40 {
        let read = read(&image, block * BLOCK, 4096).unwrap();
        let expected = match block.checked_sub(border - 32) {
            Some(0..16) | Some(49..64) => pattern(block),
            // Parts of blocks are written like any other data: what becomes of them in a crash is the next sync's business.
            Some(16 | 48) => continue,
            _ => vec![0; 4096],
        };
        assert_eq!(read, expected, "block {block}");
    }
    drop(image);
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["check", &volume]).expect_code(0);
}

/// Wherever the daemon dies between the map and the hole, a block is what it was or zeros.
#[test]
fn a_crash_amid_discards_leaves_no_lost_block() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    for round in 0_u64..4 {
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        let image = open(&host.image(&volume));
        let blocks = 2048;
        for block in 0..blocks {
            image.write_all_at(&pattern(block), block * BLOCK).unwrap();
        }
        image.sync_all().unwrap();
        let under_way = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for block in (round..blocks).step_by(3) {
                    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    if fallocate(&image, mode, block * BLOCK, 2 * BLOCK).is_err() {
                        return;
                    }
                    under_way.store(block > 20 * (round + 1), Ordering::Relaxed);
                }
            });
            wait_until("some discards", Duration::from_secs(60), || under_way.load(Ordering::Relaxed));
            host.kill_daemon(&volume);
        });
        drop(image);
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        let image = open(&host.image(&volume));
        let mut discarded = 0;
        for block in 0..blocks {
            let bytes = read(&image, block * BLOCK, 4096).unwrap_or_else(|errno| panic!("block {block}: {errno}"));
            if bytes == [0; 4096] {
                discarded += 1;
            } else {
                assert_eq!(bytes, pattern(block), "block {block}");
            }
        }
        assert!((1..blocks).contains(&discarded), "{discarded} blocks were discarded before the crash");
        drop(image);
        host.envol(&["detach", &volume]).expect_code(0);
        host.envol(&["check", &volume]).expect_code(0);
    }
}

fn open(image: &Path) -> File {
    File::options().read(true).write(true).open(image).unwrap()
}

/// Recognisable, and never zero.
fn pattern(block: u64) -> Vec<u8> {
    block.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1).to_le_bytes().repeat(512)
}

fn read(image: &File, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
    let mut bytes = vec![0xee; len];
    image.read_exact_at(&mut bytes, offset).map(|()| bytes).map_err(|error| error.raw_os_error().unwrap_or(0))
}

/// Through the front-end.
fn punch_image(image: &File, offset: u64, len: u64) {
    fallocate(image, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).unwrap();
}

/// Behind its back.
fn punch_backing(host: &Host, volume: &str, first_block: u64, blocks: u64) {
    let size = host.status(volume)["size_bytes"].as_u64().unwrap();
    let offset = Geometry::new(size).unwrap().block_offset(first_block).unwrap();
    punch_image(&open(&host.backing(volume)), offset, blocks * BLOCK);
}
