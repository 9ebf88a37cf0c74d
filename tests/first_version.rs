//! A volume, and snapshots, that the first version wrote read back, bit for bit.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod harness;

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use harness::Host;
use harness::snapshots::{objects, write};

const TIB: u64 = 1 << 40;
const SIZE: u64 = TIB + (16 << 20);
const VOLUME: &str = "vol-first-version";

/// What was written: whole blocks, parts of blocks, across the boundary of two regions, the end.
const WRITTEN: [Range<u64>; 4] = [0..81_920, 300_000..305_001, TIB - 12_365..TIB - 12_365 + 20_680, SIZE - 4196..SIZE];

/// Of what was never written, on either side of each range.
const MARGIN: u64 = 9000;

fn expected(at: u64) -> u8 {
    let written = WRITTEN.iter().any(|range| range.contains(&at));
    let pattern = (31 * at + 7 * (at >> 8) + (at >> 30)) & 0xff;
    if written { u8::try_from(pattern).unwrap() } else { 0 }
}

/// A root directory of those in `tests/vectors`.
fn left(vectors: &str) -> Host {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(vectors);
    Host::from_archive(&vectors.join("root.tar.gz"))
}

#[test]
fn a_volume_of_the_first_version_reads_back_bit_for_bit() {
    let host = left("first-version");
    let status = host.status(VOLUME);
    assert_eq!((&status["state"], &status["size_bytes"]), (&"available".into(), &SIZE.into()), "{status}");

    host.envol(&["attach", VOLUME, "--raw"]).expect_code(0);
    let image = File::open(host.image(VOLUME)).unwrap();
    for range in WRITTEN {
        let range = range.start.saturating_sub(MARGIN)..(range.end + MARGIN).min(SIZE);
        let mut found = vec![0; usize::try_from(range.end - range.start).unwrap()];
        image.read_exact_at(&mut found, range.start).unwrap();
        let wrong = range.zip(found).find(|(at, byte)| *byte != expected(*at));
        assert_eq!(wrong, None, "(where, what is read)");
    }
    drop(image);
    host.envol(&["detach", VOLUME]).expect_code(0);
    host.envol(&["check", VOLUME]).expect_code(0);
}

const SNAPSHOTS_OF: &str = "vol-first-snapshots";
const SNAPSHOTS: [&str; 2] = ["snap-037ee616f1b0e9a1d", "snap-0f16fc084ce84f0fb"];
const SMALL: usize = 16 << 20;

/// What was written before each of the snapshots: in the last chunk, too, and across the boundary of two.
const BEFORE: [&[Range<usize>]; 2] = [
    &[0..81_920, 300_000..305_001, 10_480_760..10_494_760, SMALL - 4196..SMALL],
    &[8192..12_299, 5_242_880..5_262_880],
];

/// The volume as it was when the snapshot of that index was taken.
fn content_at(snapshot: usize) -> Vec<u8> {
    let mut content = vec![0; SMALL];
    for (moment, ranges) in (1..).zip(&BEFORE[..=snapshot]) {
        for at in ranges.iter().cloned().flatten() {
            content[at] = u8::try_from((31 * at + 7 * (at >> 8) + 85 * moment) & 0xff).unwrap();
        }
    }
    content
}

/// Restores it, and takes it away again.
fn restored(host: &Host, snapshot: &str) -> Vec<u8> {
    let volume = host.restore(snapshot, &[]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let content = fs::read(host.image(&volume)).unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);
    content
}

#[track_caller]
fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.iter().zip(expected).position(|(found, expected)| found != expected), None, "where they differ");
}

#[test]
fn snapshots_of_the_first_version_are_restored_bit_for_bit() {
    let host = left("first-snapshots");
    let listed = host.json(&["snapshot", "list"]);
    let ids: Vec<_> = listed["snapshots"].as_array().unwrap().iter().map(|one| &one["snapshot_id"]).collect();
    assert_eq!(ids, SNAPSHOTS, "{listed}");
    assert_eq!(listed["snapshots"][1]["base_snapshot_id"], SNAPSHOTS[0], "{listed}");
    assert_eq!(listed["unreadable"].as_array().map(Vec::len), Some(0), "{listed}");
    for (index, snapshot) in SNAPSHOTS.into_iter().enumerate() {
        assert_eq!(host.json(&["snapshot", "verify", snapshot])["verified"], true);
        assert_same(&restored(&host, snapshot), &content_at(index));
    }

    // The control: with one byte of its own pack flipped nothing is restored.
    let there = host.volume_directories();
    for snapshot in SNAPSHOTS {
        let pack = host.store().join("packs").join(snapshot).join("00000001");
        let whole = fs::read(&pack).unwrap();
        let mut flipped = whole.clone();
        flipped[100] ^= 1;
        fs::write(&pack, flipped).unwrap();
        for ran in [host.envol(&["snapshot", "verify", snapshot]), host.try_restore(snapshot, &[])] {
            ran.expect_code(7).expect_stderr(&format!("packs/{snapshot}/00000001"));
        }
        fs::write(&pack, whole).unwrap();
    }
    assert_eq!(host.volume_directories(), there);
}

#[test]
fn a_volume_that_the_first_version_took_snapshots_of_goes_on_with_what_changed_since() {
    let host = left("first-snapshots");
    host.envol(&["attach", SNAPSHOTS_OF, "--raw"]).expect_code(0);
    let (at, bytes) = (12 << 20, [0xa5; 4096]);
    write(&host, SNAPSHOTS_OF, at as u64, &bytes);
    let third = host.snapshot(SNAPSHOTS_OF, &[]);
    assert_eq!(third["base_snapshot_id"], SNAPSHOTS[1], "{third}");
    // Of the whole volume it would read all that was ever written, which is more.
    assert_eq!((&third["read_bytes"], &third["incremental_bytes"]), (&4096.into(), &4096.into()), "{third}");
    host.envol(&["detach", SNAPSHOTS_OF]).expect_code(0);
    let packs = objects(&host.store().join("packs")).len();
    assert_eq!(packs, 3, "one more");

    let mut expected = content_at(1);
    expected[at..at + bytes.len()].copy_from_slice(&bytes);
    assert_same(&restored(&host, third["snapshot_id"].as_str().unwrap()), &expected);
}
