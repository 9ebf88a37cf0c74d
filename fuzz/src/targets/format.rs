//! The records of an image's header area, and the backup of it.

use std::sync::LazyLock;

use envol::format::layout::{header_backup, lifecycle, superblock};
use envol::format::{
    DatabaseId, FileSystemKind, FileSystemState, Geometry, HeaderBackup, HeaderCopy, Headers, LIFECYCLE_BLOCK_LEN,
    LifecycleRecord, MAX_SIZE, MIN_SIZE, RevocationPolicy, Superblock, UnverifiedSuperblock,
};
use kms_client::WrappedKey;
use sha2::{Digest, Sha256};

use crate::patch::{choice, patched};

/// A whole record, to be changed.
static SUPERBLOCK: LazyLock<Box<[u8; superblock::LEN]>> = LazyLock::new(|| {
    let record = Superblock {
        sequence: 7,
        volume_id: "vol-0123456789abcdef0".parse().expect("an id"),
        database_id: DatabaseId::Instance("orders".parse().expect("a name")),
        geometry: Geometry::new(1 << 30).expect("a size"),
        created_at_s: 1_795_309_424,
        kms_key: "arn:aws:kms:us-east-1:111122223333:key/1234abcd".parse().expect("an ARN"),
        wrapped_volume_key: WrappedKey(vec![1; 200]),
        wrapped_canary: WrappedKey(vec![2; 180]),
        key_generation: 1,
        revocation_policy: RevocationPolicy::RECOVERABLE_A_WEEK,
        file_system: FileSystemState::Formatted(FileSystemKind::Ext4),
    };
    record.encode(|_| [9; 32]).expect("it fits")
});

/// With a right checksum unless `mode` has its lowest bit: else nothing behind the checksum would ever be reached.
fn superblock_of(mode: usize, changes: &[u8]) -> Vec<u8> {
    let mut record = patched(SUPERBLOCK.as_slice(), changes);
    if mode & 1 == 0 {
        let crc = crc32fast::hash(&record[..superblock::CRC.offset]);
        record[superblock::CRC.offset..].copy_from_slice(&crc.to_le_bytes());
    }
    record
}

fn check_superblock(bytes: &[u8]) {
    let Ok(unverified) = UnverifiedSuperblock::parse(bytes) else { return };
    let claims = unverified.unproven();
    assert!((MIN_SIZE..=MAX_SIZE).contains(&claims.geometry.size_bytes()));
    assert_eq!(claims.geometry.map_ranges().count(), usize::try_from(claims.geometry.region_count()).expect("few"));
    // No two records say the same.
    let mac = superblock::MAC;
    let tag = |_: &[u8]| bytes[mac.offset..mac.end()].try_into().expect("32 bytes");
    let written = claims.encode(tag).expect("what was read fits");
    assert_eq!(&written[..], &bytes[..superblock::LEN]);
    let erased = UnverifiedSuperblock::parse(unverified.erased().as_slice()).expect("an erased one is whole");
    assert!(erased.is_erased() && erased.sequence() >= unverified.sequence());
}

pub(super) fn superblock(data: &[u8]) {
    let (mode, changes) = choice(data);
    // The bytes themselves, and as changes to a record.
    check_superblock(data);
    check_superblock(&superblock_of(mode, changes));
}

/// Two copies: the changes to the one, a length of them first, and those to the other.
pub(super) fn headers(data: &[u8]) {
    let (mode, rest) = choice(data);
    let (len, rest) = choice(rest);
    let (a, b) = rest.split_at(len.min(rest.len()));
    let (mut a, mut b) = (superblock_of(mode, a), superblock_of(mode >> 1, b));
    if mode & 4 != 0 {
        a.truncate(mode);
    }
    if mode & 8 != 0 {
        b.clear();
    }
    let Ok(headers) = Headers::parse(&a, &b) else { return };
    let newest = headers.newest().clone();
    assert!(headers.clone().verify(|_, _| false).is_err(), "whatever has no right MAC is refused");
    let verified = headers.verify(|_, _| true).expect("every MAC is right");
    assert_eq!(verified.superblock, *newest.unproven());
    let [first, second] = verified.write_order();
    assert_eq!((first, second), (verified.serving.other(), verified.serving));
    let copies = [(HeaderCopy::A, &a), (HeaderCopy::B, &b)];
    match verified.repair {
        Some(repair) => {
            assert_eq!(repair.copy, first);
            assert_eq!(repair.bytes.as_slice(), newest.bytes().as_slice());
        }
        None => assert!(copies.iter().all(|(_, bytes)| bytes[..] == newest.bytes()[..])),
    }
}

pub(super) fn header_backup(data: &[u8]) {
    static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let superblock = UnverifiedSuperblock::parse(SUPERBLOCK.as_slice()).expect("a whole one");
        HeaderBackup { superblock, image_len_bytes: 1 << 30, made_at_s: 1_795_309_424 }.encode()
    });
    let check = |file: &[u8]| {
        let Ok(backup) = HeaderBackup::parse(file) else { return };
        assert_eq!(backup.encode(), file, "no two files say the same");
    };
    check(data);
    let (mode, changes) = choice(data);
    let mut file = patched(&FILE, changes);
    let record = header_backup::SUPERBLOCK;
    if mode & 1 == 0 {
        let crc_at = record.offset + superblock::CRC.offset;
        let crc = crc32fast::hash(&file[record.offset..crc_at]);
        file[crc_at..record.end()].copy_from_slice(&crc.to_le_bytes());
    }
    if mode & 2 == 0 {
        let digest = Sha256::digest(&file[..header_backup::SHA256.offset]);
        file[header_backup::SHA256.offset..].copy_from_slice(&digest);
    }
    if mode & 4 != 0 {
        file.truncate(mode << 7);
    }
    check(&file);
}

/// One record or two, of up to 512 bytes each, zeros behind them.
pub(super) fn lifecycle(data: &[u8]) {
    let (mode, rest) = choice(data);
    let (a, b) = rest.split_at(rest.len().min(lifecycle::LEN));
    let block = |bytes: &[u8], fix: bool| {
        let mut block = vec![0; LIFECYCLE_BLOCK_LEN];
        let len = bytes.len().min(lifecycle::LEN);
        block[..len].copy_from_slice(&bytes[..len]);
        if fix && len > 0 {
            let crc = crc32fast::hash(&block[..lifecycle::CRC.offset]);
            block[lifecycle::CRC.offset..lifecycle::LEN].copy_from_slice(&crc.to_le_bytes());
        }
        block
    };
    let (a, b) = (block(a, mode & 1 == 0), block(b, mode & 2 == 0));
    let parsed = [&a, &b].map(|block| {
        let record = LifecycleRecord::parse(block).ok().flatten()?;
        assert_eq!(record.encode()[..lifecycle::LEN], block[..lifecycle::LEN], "no two records say the same");
        Some(record)
    });
    let _ = LifecycleRecord::parse(data);
    for record in parsed.iter().flatten() {
        let said = LifecycleRecord::of_copies(&a, &b, &record.volume_id).expect("one of them is whole");
        let said = said.expect("there is a record");
        assert!(said.volume_id == record.volume_id && said.sequence >= record.sequence);
    }
}
