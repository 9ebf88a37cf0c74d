//! A volume that the first version wrote reads back, bit for bit.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod harness;

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use harness::Host;

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

#[test]
fn a_volume_of_the_first_version_reads_back_bit_for_bit() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/first-version/root.tar.gz");
    let host = Host::from_archive(&archive);
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
