//! `decode_image.py`, a second implementation made from docs/format.md alone, reads the plaintext that was written out
//! of the image, also across a region boundary, and refuses what the page says must be refused.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod harness;

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use harness::{Host, Ran};
use rustix::fs::{FallocateFlags, fallocate};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/decode_image.py");

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The table of docs/format.md: where both copies of the superblock lie, and fields of one.
const COPIES: [u64; 2] = [0, 512 * KIB];
const SEQUENCE: usize = 24;
const MAC: usize = 16348;
const CRC: usize = 16380;
/// Of block 0 in the image.
const CIPHERTEXT: u64 = 33 * MIB;

const PUNCH_HOLE: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);

fn decode(host: &Host, image: &Path, offset: u64, len: u64) -> Result<Vec<u8>, Ran> {
    let mut command = host.command("python3");
    command.arg(SCRIPT).arg(image).args([offset.to_string(), len.to_string()]);
    let output = command.output().expect("python3 is not installed; scripts/test.sh installs it");
    let ran = harness::ran(&output);
    assert!(!ran.stderr.contains("needs the Python modules"), "{}scripts/test.sh installs them", ran.stderr);
    if ran.code == 0 { Ok(output.stdout) } else { Err(ran) }
}

#[track_caller]
fn refused(decoded: Result<Vec<u8>, Ran>, why: &str) {
    decoded.expect_err("it decodes").expect_code(1).expect_stderr(why);
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

fn read(file: &File, offset: u64, len: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    file.read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

fn open_for_writing(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Part of a volume, and what it must hold.
struct Expected {
    what: &'static str,
    offset: u64,
    plaintext: Vec<u8>,
}

impl Expected {
    /// `plaintext` at `offset`, between `margin` bytes on either side that nobody wrote.
    fn surrounded(what: &'static str, offset: u64, plaintext: &[u8], margin: usize) -> Self {
        let zeros = vec![0; margin];
        Self { what, offset: offset - margin as u64, plaintext: [&zeros, plaintext, &zeros].concat() }
    }

    fn len(&self) -> u64 {
        self.plaintext.len() as u64
    }
}

#[test]
fn an_image_over_1_tib_decodes_to_what_was_written() {
    let host = Host::new();
    let size = TIB + 16 * MIB;
    let sparse = File::create(host.root().join("sparse")).unwrap();
    sparse.set_len(size + 81 * MIB).expect("the file system of the temporary directory ends files below 1 TiB");
    fs::remove_file(host.root().join("sparse")).unwrap();

    let volume = host.create(&["--size", &format!("{}MiB", size / MIB)]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let file = open_for_writing(&host.image(&volume));

    let write = |offset, len| {
        let bytes = random(len);
        file.write_all_at(&bytes, offset).unwrap();
        bytes
    };
    let start = write(0, 20_000);
    let middle = write(700 * GIB + 1234, 70_001);
    let boundary = write(TIB - 5000, 12_345);
    let end = write(size - 4196, 4196);
    let mut discarded = write(300 * MIB, 65_536);
    fallocate(&file, PUNCH_HOLE, 300 * MIB + 1000, 20_000).unwrap();
    discarded[1000..21_000].fill(0);
    file.sync_all().unwrap();

    let expected = [
        Expected { what: "the start", offset: 0, plaintext: [start, vec![0; 500]].concat() },
        Expected::surrounded("the middle", 700 * GIB + 1234, &middle, 9000),
        Expected::surrounded("the region boundary", TIB - 5000, &boundary, 777),
        Expected { what: "the end", offset: size - 4196, plaintext: end },
        Expected::surrounded("the discarded range", 300 * MIB, &discarded, 1),
        Expected { what: "never written", offset: 512 * GIB + 1, plaintext: vec![0; 10_000] },
    ];
    for part in &expected {
        assert!(
            read(&file, part.offset, part.len()) == part.plaintext,
            "the mount reads something else: {}",
            part.what
        );
    }
    drop(file);
    host.envol(&["detach", &volume]).expect_code(0);

    let image = host.backing(&volume);
    for part in &expected {
        let decoded = decode(&host, &image, part.offset, part.len()).unwrap();
        assert!(decoded == part.plaintext, "the script decodes something else: {}", part.what);
    }
    refused(decode(&host, &image, size - 1, 2), "the volume has 1099528404992 bytes");
}

#[test]
fn an_image_with_a_lost_block_or_an_edited_header_does_not_decode() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let file = open_for_writing(&host.image(&volume));
    let written = random(12_288);
    file.write_all_at(&written, 0).unwrap();
    drop(file);
    host.envol(&["detach", &volume]).expect_code(0);

    let path = host.backing(&volume);
    let image = open_for_writing(&path);
    let decoded = || decode(&host, &path, 0, 4096);
    assert!(decoded().unwrap() == written[..4096]);

    let original = read(&image, COPIES[0], 16 * KIB);
    let with_crc = |mut copy: Vec<u8>| {
        let crc = crc32fast::hash(&copy[..CRC]);
        copy[CRC..].copy_from_slice(&crc.to_le_bytes());
        copy
    };
    let flipped = |at: usize| {
        let mut copy = original.clone();
        copy[at] ^= 1;
        copy
    };
    let write = |copies: [&[u8]; 2]| {
        for (copy, offset) in copies.into_iter().zip(COPIES) {
            image.write_all_at(copy, offset).unwrap();
        }
    };
    // One copy with a wrong CRC is merely corrupt, and the other one serves.
    write([&flipped(MAC), &original]);
    assert!(decoded().unwrap() == written[..4096]);
    let (forged, newer_forged) = (with_crc(flipped(MAC)), with_crc(flipped(SEQUENCE + 7)));
    for (copies, why) in [
        ([&flipped(MAC)[..], &flipped(MAC)], "both copies of the superblock are corrupt"),
        ([&forged, &forged], "the MAC of a superblock is wrong"),
        ([&forged, &flipped(MAC)], "the MAC of a superblock is wrong"),
        ([&original, &newer_forged], "the MAC of a superblock is wrong"),
        ([&newer_forged, &original], "the MAC of a superblock is wrong"),
        ([&original, &forged], "one sequence number, two superblocks"),
    ] {
        write(copies);
        refused(decoded(), why);
        host.envol(&["attach", &volume, "--raw"]).expect_code(7);
    }
    write([&original, &original]);
    assert!(decoded().unwrap() == written[..4096]);

    fallocate(&image, PUNCH_HOLE, CIPHERTEXT + 4096, 4096).unwrap();
    refused(decode(&host, &path, 0, 12_288), "block 1 was lost");
    assert!(decoded().unwrap() == written[..4096]);

    host.disable_key();
    refused(decoded(), "DisabledException");
    host.enable_key();
    assert!(decoded().unwrap() == written[..4096]);
}
