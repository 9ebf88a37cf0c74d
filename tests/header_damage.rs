//! One bad header copy is repaired; a header that is not whole, not ours or edited is refused before anything is
//! served, and nothing is written.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use envol::format::layout::{Field, superblock};
use envol::format::{
    Cause, DatabaseId, FileSystemKind, FileSystemState, Geometry, HEADER_LEN, HeaderCopy, LIFECYCLE_BLOCK_LEN,
    LifecycleRecord, RevocationPolicy, SUPERBLOCK_LEN, Superblock, UnverifiedSuperblock, VolumeId,
};
use harness::{Host, data_of};
use sha2::{Digest, Sha256};

const BOTH: [HeaderCopy; 2] = HeaderCopy::BOTH;
const GREETING: &[u8] = b"written while the header was whole";

#[test]
fn one_bad_superblock_copy_is_reported_and_repaired() {
    let host = Host::new();
    let volume = written_volume(&host);
    let backing = host.backing(&volume);
    let whole = header(&backing);
    for bad in BOTH {
        for (how, damage) in damages() {
            let mut torn = superblock(&whole, bad).to_vec();
            damage(&mut torn);
            put(&backing, bad.superblock_offset(), &torn);
            let log = host.root().join("volumes").join(&volume).join("daemon.log");
            let before = fs::read_to_string(&log).unwrap().len();

            let attached = host.envol(&["attach", &volume, "--raw"]).expect_code(0);
            attached.expect_stderr(&format!("warning: volume {volume}: superblock copy {bad}"));
            assert_repaired(&backing, &format!("copy {bad}, {how}"));
            let warning = fs::read_to_string(&log).unwrap().split_off(before);
            assert!(warning.contains(&format!("superblock copy {bad}")), "copy {bad}, {how}: {warning}");
            assert!(warning.contains("rewritten from the other copy"), "copy {bad}, {how}: {warning}");
            assert_eq!(read_greeting(&host, &volume), GREETING, "copy {bad}, {how}");
            host.envol(&["detach", &volume]).expect_code(0);
        }
    }
    // The control: of a whole header nothing is said.
    let log = host.root().join("volumes").join(&volume).join("daemon.log");
    let before = fs::read_to_string(&log).unwrap().len();
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    assert!(!fs::read_to_string(&log).unwrap().split_off(before).contains("superblock copy"));
}

/// Both copies are the same again. (They are not as they were: each attach raises the sequence number.)
#[track_caller]
fn assert_repaired(backing: &Path, how: &str) {
    let found = header(backing);
    assert!(superblock(&found, HeaderCopy::A) == superblock(&found, HeaderCopy::B), "{how}: not repaired");
}

#[test]
fn check_names_a_bad_superblock_copy() {
    let host = Host::new();
    let volume = written_volume(&host);
    host.envol(&["check", &volume]).expect_code(0);
    put(&host.backing(&volume), HeaderCopy::B.superblock_offset(), &[0; 4096]);
    let checked = host.envol(&["check", &volume]).expect_code(7);
    assert!(checked.stdout.contains("superblock copy B"), "{}", checked.stdout);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    host.envol(&["check", &volume]).expect_code(0);
}

#[test]
fn an_update_that_was_cut_short_is_completed_from_the_newer_copy() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let backing = host.backing(&volume);
    let blank = header(&backing);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    fs::write(dir.join("greeting"), GREETING).unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    for old in BOTH {
        // The old copy says that there never was a file system.
        put(&backing, old.superblock_offset(), superblock(&blank, old));
        host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
        assert_repaired(&backing, &format!("copy {old} was the older"));
        assert_eq!(fs::read(dir.join("greeting")).unwrap(), GREETING);
        host.envol(&["detach", &volume]).expect_code(0);
    }
    // Both old: that header is ours and whole, but it does not fit the allocation map.
    put(&backing, 0, &blank);
    let before = fingerprint(&backing);
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(2).expect_stderr("--mkfs");
    assert_eq!(fingerprint(&backing), before);
}

#[test]
fn two_bad_superblock_copies_are_refused() {
    let host = Host::new();
    let volume = written_volume(&host);
    let backing = host.backing(&volume);
    let whole = header(&backing);
    for (how_a, damage_a) in damages() {
        for (how_b, damage_b) in damages() {
            let mut damaged = whole.clone();
            damage_a(superblock_mut(&mut damaged, HeaderCopy::A));
            damage_b(superblock_mut(&mut damaged, HeaderCopy::B));
            refused(&host, &volume, &damaged, &format!("A {how_a}, B {how_b}"));
        }
    }
    serves_again(&host, &volume, &whole);
}

#[test]
fn exchanged_headers_are_refused_on_both_volumes() {
    let host = Host::new();
    let volumes = [written_volume(&host), written_volume(&host)];
    let whole = volumes.each_ref().map(|volume| header(&host.backing(volume)));
    refused(&host, &volumes[0], &whole[1], "the header of the other volume");
    refused(&host, &volumes[1], &whole[0], "the header of the other volume");
    for (copy, other) in BOTH.into_iter().zip(BOTH.map(HeaderCopy::other)) {
        // One copy of each volume: neither may be taken for damage of the other.
        let mut mixed = whole[0].clone();
        superblock_mut(&mut mixed, copy).copy_from_slice(superblock(&whole[1], other));
        refused(&host, &volumes[0], &mixed, &format!("copy {copy} of the other volume"));
    }
    for (volume, whole) in volumes.iter().zip(&whole) {
        serves_again(&host, volume, whole);
    }
}

#[test]
fn a_flipped_bit_in_any_field_with_its_checksum_made_right_is_refused() {
    let host = Host::new();
    let volume = written_volume(&host);
    let whole = header(&host.backing(&volume));
    for field in superblock::FIELDS.iter().filter(|field| **field != superblock::CRC) {
        // The first byte is the value's, the last one the padding's where there is one.
        let mut bytes = vec![field.offset, field.end() - 1];
        bytes.dedup();
        for byte in bytes {
            for copies in [&BOTH[..1], &BOTH[1..], &BOTH[..]] {
                let mut edited = whole.clone();
                for copy in copies {
                    let record = superblock_mut(&mut edited, *copy);
                    record[byte] ^= 1;
                    make_checksum_right(record);
                }
                refused(&host, &volume, &edited, &format!("byte {byte} of `{}` in {copies:?}", field.name));
            }
        }
    }
    serves_again(&host, &volume, &whole);
}

/// Each claim replaced by one that is as good, down to the checksum: only the MAC and KMS can tell.
#[test]
fn a_well_formed_claim_that_nobody_with_the_key_made_is_refused() {
    let host = Host::new();
    let [volume, other] = [written_volume(&host), written_volume(&host)];
    let other_key = host.aws(&["create-key", "--query", "KeyMetadata.Arn", "--output", "text"]).expect_code(0);
    let other_key = other_key.stdout.trim();
    let whole = header(&host.backing(&volume));
    let parse = |header: &[u8]| UnverifiedSuperblock::parse(superblock(header, HeaderCopy::A)).unwrap();
    let ours = parse(&whole).unproven().clone();
    let theirs = parse(&header(&host.backing(&other))).unproven().clone();
    let change = |edit: &dyn Fn(&mut Superblock)| {
        let mut claims = ours.clone();
        edit(&mut claims);
        claims
    };
    let claims = [
        ("sequence", change(&|claims| claims.sequence += 1)),
        ("volume id", change(&|claims| claims.volume_id = theirs.volume_id.clone())),
        ("database id", change(&|claims| claims.database_id = DatabaseId::Instance("db-OTHER".parse().unwrap()))),
        ("database kind", change(&|claims| claims.database_id = DatabaseId::Cluster("db-TEST".parse().unwrap()))),
        ("smaller", change(&|claims| claims.geometry = Geometry::new(16 << 20).unwrap())),
        ("created at", change(&|claims| claims.created_at_s -= 86_400)),
        ("KMS key", change(&|claims| claims.kms_key = other_key.parse().unwrap())),
        ("volume key", change(&|claims| claims.wrapped_volume_key = theirs.wrapped_volume_key.clone())),
        ("canary for the volume key", change(&|claims| claims.wrapped_volume_key = ours.wrapped_canary.clone())),
        ("canary", change(&|claims| claims.wrapped_canary = theirs.wrapped_canary.clone())),
        ("key generation", change(&|claims| claims.key_generation += 1)),
        ("policy", change(&|claims| claims.revocation_policy = RevocationPolicy::Erase)),
        ("file system", change(&|claims| claims.file_system = FileSystemState::Formatted(FileSystemKind::Xfs))),
    ];
    let mac = superblock::MAC;
    let their_mac: [u8; 32] =
        superblock(&header(&host.backing(&other)), HeaderCopy::A)[mac.offset..mac.end()].try_into().unwrap();
    let our_mac: [u8; 32] = superblock(&whole, HeaderCopy::A)[mac.offset..mac.end()].try_into().unwrap();
    for (what, claims) in claims {
        assert_ne!(claims, ours, "{what}: nothing is edited");
        for tag in [our_mac, their_mac] {
            let forged = claims.encode(|_| tag).unwrap();
            for copies in [&BOTH[..1], &BOTH[1..], &BOTH[..]] {
                let mut edited = whole.clone();
                for copy in copies {
                    superblock_mut(&mut edited, *copy).copy_from_slice(&forged[..]);
                }
                refused(&host, &volume, &edited, &format!("{what} in {copies:?}"));
            }
        }
    }
    serves_again(&host, &volume, &whole);
}

#[test]
fn a_lifecycle_record_that_is_damaged_or_anothers_is_refused() {
    let host = Host::new();
    let volume = written_volume(&host);
    let whole = header(&host.backing(&volume));
    let ours = record(&volume);
    let mut damaged = ours.clone();
    damaged[100] ^= 1;
    let mut torn = ours.clone();
    torn[512 - 4..512].fill(0);
    for (how, block) in [
        ("of another volume", record("vol-other")),
        ("damaged", damaged),
        ("torn", torn),
        ("junk", vec![0xa5; LIFECYCLE_BLOCK_LEN]),
    ] {
        for copies in [&BOTH[..1], &BOTH[1..], &BOTH[..]] {
            let edited = with_lifecycle(&whole, copies, &block);
            refused(&host, &volume, &edited, &format!("{how} in {copies:?}"));
        }
    }
    serves_again(&host, &volume, &whole);

    // The control: one whole record of this volume is believed, whatever the other copy is.
    for (copy, other) in BOTH.into_iter().zip(BOTH.map(HeaderCopy::other)) {
        for beside in [vec![0; LIFECYCLE_BLOCK_LEN], vec![0xa5; LIFECYCLE_BLOCK_LEN], record("vol-other")] {
            let edited = with_lifecycle(&with_lifecycle(&whole, &[copy], &ours), &[other], &beside);
            put(&host.backing(&volume), 0, &edited);
            let before = fingerprint(&host.backing(&volume));
            host.envol(&["attach", &volume, "--raw"]).expect_code(6).expect_stderr("key-disabled");
            assert_eq!(fingerprint(&host.backing(&volume)), before);
        }
    }
}

#[test]
fn an_image_that_was_cut_short_is_refused() {
    let host = Host::new();
    let volume = written_volume(&host);
    let backing = host.backing(&volume);
    let whole = header(&backing);
    let len = fs::metadata(&backing).unwrap().len();
    File::options().write(true).open(&backing).unwrap().set_len(len - 4096).unwrap();
    refused(&host, &volume, &whole, "the last block is missing");
    File::options().write(true).open(&backing).unwrap().set_len(len).unwrap();
    serves_again(&host, &volume, &whole);
}

/// With something in it, detached.
fn written_volume(host: &Host) -> String {
    let volume = host.create(&["--size", "17MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let image = File::options().write(true).open(host.image(&volume)).unwrap();
    image.write_all_at(GREETING, 5000).unwrap();
    image.sync_all().unwrap();
    drop(image);
    host.envol(&["detach", &volume]).expect_code(0);
    volume
}

fn read_greeting(host: &Host, volume: &str) -> Vec<u8> {
    let mut bytes = vec![0; GREETING.len()];
    File::open(host.image(volume)).unwrap().read_exact_at(&mut bytes, 5000).unwrap();
    bytes
}

/// Exit 7, and not a byte of the image changed, nor was it written to.
#[track_caller]
fn refused(host: &Host, volume: &str, header: &[u8], what: &str) {
    let backing = host.backing(volume);
    put(&backing, 0, header);
    let before = fingerprint(&backing);
    let ran = host.envol(&["attach", volume, "--raw"]);
    assert_eq!(ran.code, 7, "{what}: {}", ran.stderr);
    assert!(ran.stderr.contains(volume), "{what}: the volume is not named: {}", ran.stderr);
    assert_eq!(fingerprint(&backing), before, "{what}: the image has changed");
    assert!(!host.image(volume).exists(), "{what}: the image is shown");
}

/// The control beside every refusal.
#[track_caller]
fn serves_again(host: &Host, volume: &str, whole: &[u8]) {
    put(&host.backing(volume), 0, whole);
    host.envol(&["attach", volume, "--raw"]).expect_code(0);
    assert_eq!(read_greeting(host, volume), GREETING);
    host.envol(&["detach", volume]).expect_code(0);
}

type Damage = fn(&mut [u8]);

/// What happens to a copy by accident: none of it leaves the checksum right.
fn damages() -> [(&'static str, Damage); 4] {
    fn torn(copy: &mut [u8]) {
        copy[4096..].fill(0);
    }
    fn zeroed(copy: &mut [u8]) {
        copy.fill(0);
    }
    fn flipped(copy: &mut [u8]) {
        copy[superblock::KMS_KEY_ARN.offset] ^= 0x10;
    }
    fn checksum(copy: &mut [u8]) {
        copy[superblock::CRC.offset] ^= 0x80;
    }
    [("torn", torn), ("zeroed", zeroed), ("a flipped bit", flipped), ("a flipped bit of the checksum", checksum)]
}

fn record(volume: &str) -> Vec<u8> {
    let record = LifecycleRecord {
        state: envol::format::LifecycleState::Terminal,
        sequence: 1,
        volume_id: volume.parse::<VolumeId>().unwrap(),
        cause: Cause::KeyDisabled,
        at_ms: 1_700_000_000_000,
        request_id: "1234".to_owned(),
        detail: "DisabledException: it is disabled".to_owned(),
    };
    record.encode().to_vec()
}

fn with_lifecycle(header: &[u8], copies: &[HeaderCopy], block: &[u8]) -> Vec<u8> {
    let mut edited = header.to_vec();
    for copy in copies {
        let offset = usize::try_from(copy.lifecycle_offset()).unwrap();
        edited[offset..offset + block.len()].copy_from_slice(block);
    }
    edited
}

/// The whole header area.
fn header(backing: &Path) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(HEADER_LEN).unwrap()];
    File::open(backing).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn put(backing: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(backing).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn superblock(header: &[u8], copy: HeaderCopy) -> &[u8] {
    let offset = usize::try_from(copy.superblock_offset()).unwrap();
    &header[offset..offset + SUPERBLOCK_LEN]
}

fn superblock_mut(header: &mut [u8], copy: HeaderCopy) -> &mut [u8] {
    let offset = usize::try_from(copy.superblock_offset()).unwrap();
    &mut header[offset..offset + SUPERBLOCK_LEN]
}

fn make_checksum_right(record: &mut [u8]) {
    let Field { offset, .. } = superblock::CRC;
    let crc = crc32fast::hash(&record[..offset]);
    record[offset..offset + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Every allocated byte and where it lies, the length, and when it was written to last.
#[derive(Debug, PartialEq)]
struct Fingerprint {
    sha256: Vec<u8>,
    len: u64,
    modified: (i64, i64),
}

fn fingerprint(backing: &Path) -> Fingerprint {
    let mut hash = Sha256::new();
    for (offset, bytes) in data_of(backing) {
        hash.update(offset.to_le_bytes());
        hash.update(bytes);
    }
    let metadata = fs::metadata(backing).unwrap();
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    Fingerprint { sha256: hash.finalize().to_vec(), len: metadata.len(), modified }
}
