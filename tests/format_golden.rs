//! The format is what docs/format.md says: its tables against the code, its vectors against both, and hostile bytes.

#![allow(clippy::unwrap_used, reason = "a test file: a panic is its way to fail")]

use std::fs;
use std::path::PathBuf;

use aes::Aes256;
use aes::cipher::KeyInit as _;
use envol::format::layout::{Field, header_backup, lifecycle, superblock};
use envol::format::{
    BLOCKS_PER_REGION, Cause, Damage, DatabaseId, FileSystemKind, FileSystemState, Geometry, Headers, LifecycleRecord,
    MAX_SIZE, MIN_SIZE, RevocationPolicy, SUPERBLOCK_LEN, Superblock, UnverifiedSuperblock,
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use kms_client::WrappedKey;
use proptest::prelude::*;
use sha2::{Digest, Sha256, Sha512};
use xts_mode::{Xts128, get_tweak_default};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn document() -> String {
    fs::read_to_string(root().join("docs/format.md")).unwrap()
}

fn vector(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/vectors/format-v1").join(name)).unwrap()
}

/// The cells of every table row under one `## heading`, without heading rows.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let document = document();
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).expect("the section exists");
    let section = section.split("\n## ").next().unwrap_or_default();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter(|row| !row.starts_with("---"))
        .map(|row| row.split(" | ").map(|cell| cell.replace('`', "")).collect())
        .collect()
}

/// The rows whose first `N` cells are numbers.
fn numbers<const N: usize>(heading: &str) -> Vec<[u64; N]> {
    let parse = |row: Vec<String>| -> Option<[u64; N]> {
        let numbers: Option<Vec<u64>> = row.iter().take(N).map(|cell| cell.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    rows(heading).into_iter().filter_map(parse).collect()
}

fn documented_fields(heading: &str) -> Vec<(String, usize, usize)> {
    rows(heading)
        .into_iter()
        .filter(|row| row.len() >= 4)
        .filter_map(|row| Some((row[2].clone(), row[0].parse().ok()?, row[1].parse().ok()?)))
        .collect()
}

fn coded_fields(fields: &[Field]) -> Vec<(String, usize, usize)> {
    fields.iter().map(|field| (field.name.to_owned(), field.offset, field.len)).collect()
}

#[test]
fn the_tables_of_the_document_are_those_of_the_code() {
    assert_eq!(documented_fields("Superblock"), coded_fields(&superblock::FIELDS));
    assert_eq!(documented_fields("Lifecycle record"), coded_fields(&lifecycle::FIELDS));
    assert_eq!(documented_fields("Header backup"), coded_fields(&header_backup::FIELDS));
}

#[test]
fn fields_fill_their_record_and_numbers_are_aligned() {
    for (fields, len) in
        [(superblock::FIELDS.as_slice(), superblock::LEN), (lifecycle::FIELDS.as_slice(), lifecycle::LEN)]
    {
        let mut end = 0;
        for field in fields {
            assert_eq!(field.offset, end, "{}", field.name);
            if field.len <= 8 {
                let alignment = if field.len.is_power_of_two() { field.len } else { 1 };
                assert_eq!(field.offset % alignment, 0, "{}", field.name);
            }
            end = field.end();
        }
        assert_eq!(end, len);
    }
}

#[test]
fn the_examples_of_the_document_are_right() {
    let examples = numbers::<6>("Where everything lies");
    assert_eq!(examples.len(), 5);
    for [size, block, region, ciphertext, map_byte, map_bit] in examples {
        let geometry = Geometry::new(size).unwrap();
        assert_eq!(geometry.region_of(block).map(u64::from), Some(region));
        assert_eq!(geometry.block_offset(block), Some(ciphertext));
        assert_eq!(geometry.map_byte_offset(block), Some(map_byte));
        assert_eq!(geometry.map_bit(block).unwrap().mask, 1 << map_bit);
        assert!(document().contains(&geometry.image_len_bytes().to_string()));
    }
}

#[test]
fn the_causes_of_the_document_are_those_of_the_code() {
    let documented: Vec<_> = rows("Lifecycle record")
        .into_iter()
        .filter(|row| row.len() == 2 && row[0] != "cause")
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let coded: Vec<_> = Cause::ALL.into_iter().map(|cause| (cause.to_code().to_string(), cause.to_string())).collect();
    assert_eq!(documented, coded);
}

fn volume_key() -> Vec<u8> {
    (0..64).collect()
}

fn derive(info: &[u8]) -> [u8; 64] {
    let mut key = [0; 64];
    Hkdf::<Sha512>::new(None, &volume_key()).expand(info, &mut key).unwrap();
    key
}

fn header_mac(covered: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&derive(b"envol/v1/header-mac")).unwrap();
    mac.update(covered);
    mac.finalize().into_bytes().into()
}

fn mac_is_right(covered: &[u8], mac: &[u8; 32]) -> bool {
    header_mac(covered) == *mac
}

fn golden_superblock() -> Superblock {
    Superblock {
        sequence: 3,
        volume_id: "vol-0123456789abcdef0".parse().unwrap(),
        database_id: DatabaseId::Instance("db-ABCDEFGHIJKLMNOPQRSTUVWXYZ".parse().unwrap()),
        geometry: Geometry::new(16 << 20).unwrap(),
        created_at_s: 1_767_225_600,
        kms_key: "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab".parse().unwrap(),
        wrapped_volume_key: WrappedKey((0..184).collect()),
        wrapped_canary: WrappedKey((0..152).map(|i| 255 - i).collect()),
        key_generation: 2,
        revocation_policy: RevocationPolicy::Recoverable { window_s: 604_800.try_into().unwrap() },
        file_system: FileSystemState::Formatted(FileSystemKind::Ext4),
    }
}

#[test]
fn the_golden_superblock_is_written_and_read() {
    let golden = vector("superblock.bin");
    assert_eq!(golden_superblock().encode(header_mac).unwrap().as_slice(), golden);
    let read = Headers::parse(&golden, &golden).unwrap().verify(mac_is_right).unwrap();
    assert_eq!(read.superblock, golden_superblock());
}

#[test]
fn the_golden_lifecycle_record_is_written_and_read() {
    let golden = vector("lifecycle.bin");
    let record = LifecycleRecord {
        state: envol::format::LifecycleState::Terminal,
        sequence: 1,
        volume_id: "vol-0123456789abcdef0".parse().unwrap(),
        cause: Cause::KeyDisabled,
        at_ms: 1_767_225_600_123,
        request_id: "0d2c1b5e-7a3f-4c0e-9d6a-2f1e8b7c6d5a".to_owned(),
        detail: "DisabledException: arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab \
                 is disabled."
            .to_owned(),
    };
    assert_eq!(record.encode()[..512], golden);
    assert_eq!(LifecycleRecord::parse(&golden), Ok(Some(record)));
}

#[test]
fn the_golden_blocks_decrypt() {
    let plaintext: Vec<u8> = (0..=250).cycle().take(4096).collect();
    for (block, name) in [(9, "block-9.bin"), (1 << 28, "block-268435456.bin")] {
        let region = u32::try_from(block / BLOCKS_PER_REGION).unwrap();
        let keys = derive(&[b"envol/v1/xts-region".as_slice(), &region.to_le_bytes()].concat());
        let [k1, k2] = [&keys[..32], &keys[32..]].map(|key| Aes256::new_from_slice(key).unwrap());
        let mut bytes = vector(name);
        Xts128::new(k1, k2).decrypt_sector(&mut bytes, get_tweak_default(block.into()));
        assert_eq!(bytes, plaintext, "{name}");
    }
}

#[test]
fn the_values_of_the_document_are_those_of_the_vectors() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let documented: Vec<String> = rows("Vectors")
        .into_iter()
        .skip(1)
        .map(|row| row[1].split(' ').next_back().unwrap_or_default().to_owned())
        .collect();
    let region = |region: u32| derive(&[b"envol/v1/xts-region".as_slice(), &region.to_le_bytes()].concat());
    let mut expected: Vec<String> =
        [derive(b"envol/v1/header-mac"), region(0), region(1)].iter().map(|key| hex(key)).collect();
    for name in ["superblock.bin", "lifecycle.bin", "block-9.bin", "block-268435456.bin"] {
        expected.push(hex(&Sha256::digest(vector(name))));
    }
    assert_eq!(documented, expected);
}

fn with_right_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes[..superblock::CRC.offset]);
    bytes[superblock::CRC.offset..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Every field, set to values that it must not have, with the checksum put right: the parser refuses, or the MAC does.
#[test]
fn no_edited_field_is_accepted() {
    for field in superblock::FIELDS {
        for value in [0x00, 0x01, 0x7F, 0x80, 0xFF] {
            for range in [field.offset..field.end(), field.end() - 1..field.end()] {
                let mut edited = vector("superblock.bin");
                edited[range].fill(value);
                let edited = with_right_checksum(edited);
                if edited == vector("superblock.bin") {
                    continue;
                }
                let accepted = UnverifiedSuperblock::parse(&edited).is_ok_and(|read| read.verify(mac_is_right).is_ok());
                assert!(!accepted, "{} = {value:02x}", field.name);
            }
        }
    }
}

#[test]
fn the_reasons_for_a_refusal_are_told_apart() {
    let edit = |field: Field, value: &[u8]| {
        let mut bytes = vector("superblock.bin");
        bytes[field.offset..][..value.len()].copy_from_slice(value);
        UnverifiedSuperblock::parse(&with_right_checksum(bytes)).map(|_| ()).unwrap_err()
    };
    assert_eq!(edit(superblock::FORMAT_VERSION, &[2]), Damage::Version(2));
    assert_eq!(edit(superblock::REQUIRED_FEATURES, &[4]), Damage::Features(4));
    for (field, value, blamed) in [
        (superblock::MAGIC, b"ENVOL\0SB".as_slice(), "magic"),
        (superblock::BLOCK_SIZE, &[0, 2, 0, 0], "block_size"),
        (superblock::SIZE_BYTES, &[1], "size_bytes"),
        (superblock::RESERVED_1, &[1], "reserved_1"),
        (superblock::RESERVED_2, &[1], "reserved_2"),
        (superblock::REVOCATION_POLICY, &[1], "revocation_policy"),
        (superblock::REVOCATION_POLICY, &[9], "revocation_policy"),
        (superblock::FILE_SYSTEM_STATE, &[0], "file_system_state"),
        (superblock::FILE_SYSTEM_KIND, &[0], "file_system_state"),
        (superblock::DATABASE_ID_KIND, &[3], "database_id_kind"),
        (superblock::VOLUME_ID, b"vol/", "volume_id"),
        (superblock::VOLUME_ID, &[0xFF], "volume_id"),
        (superblock::VOLUME_ID_LEN, &[41], "volume_id_len"),
        (superblock::VOLUME_ID_LEN, &[20], "volume_id"),
        (superblock::DATABASE_ID, b"-", "database_id"),
        (superblock::KMS_KEY_ARN, b"urn", "kms_key_arn"),
        (superblock::KMS_KEY_ARN_LEN, &[0xFF, 0xFF], "kms_key_arn_len"),
        (superblock::WRAPPED_CANARY_LEN, &[1], "wrapped_canary"),
        (superblock::WRAPPED_VOLUME_KEY_LEN, &[0xFF, 0x7F], "wrapped_volume_key_len"),
    ] {
        let damage = edit(field, value);
        assert!(
            matches!(&damage, Damage::Field { field, .. } if *field == blamed),
            "{} = {value:02x?}: {damage}",
            field.name
        );
        assert!(!damage.is_corruption());
    }
    assert!(UnverifiedSuperblock::parse(&with_right_checksum(vector("superblock.bin"))).is_ok());
}

#[test]
fn what_does_not_fit_its_slot_is_not_written() {
    for len in [0, 6145, 70_000] {
        let oversized = Superblock { wrapped_canary: WrappedKey(vec![1; len]), ..golden_superblock() };
        let error = oversized.encode(header_mac).unwrap_err();
        assert_eq!((error.field, error.len, error.max_len), ("wrapped_canary", len, 6144));
    }
    let largest = Superblock { wrapped_canary: WrappedKey(vec![1; 6144]), ..golden_superblock() };
    let bytes = largest.encode(header_mac).unwrap();
    let read = UnverifiedSuperblock::parse(bytes.as_slice()).unwrap();
    assert_eq!(read.wrapped_canary().0.len(), 6144);
}

fn any_superblock() -> impl Strategy<Value = Superblock> {
    let policy = prop_oneof![
        Just(RevocationPolicy::Terminal),
        Just(RevocationPolicy::Erase),
        (1..=u32::MAX).prop_map(|window_s| RevocationPolicy::Recoverable { window_s: window_s.try_into().unwrap() }),
    ];
    let kind = prop_oneof![Just(FileSystemKind::Ext4), Just(FileSystemKind::Xfs)];
    let file_system = (0..3, kind).prop_map(|(state, kind)| match state {
        0 => FileSystemState::Blank,
        1 => FileSystemState::Formatting(kind),
        _ => FileSystemState::Formatted(kind),
    });
    let wrapped = || prop::collection::vec(any::<u8>(), 1..=6144).prop_map(WrappedKey);
    let database = ("[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", any::<bool>()).prop_map(|(name, cluster)| {
        let name = name.parse().unwrap();
        if cluster { DatabaseId::Cluster(name) } else { DatabaseId::Instance(name) }
    });
    let numbers = (any::<u64>(), any::<i64>(), any::<u64>(), MIN_SIZE / 4096..=MAX_SIZE / 4096);
    let names = ("vol-[A-Za-z0-9-]{1,32}", database, "arn:aws:kms:eu-west-1:1:key/[a-z0-9-]{1,36}");
    (numbers, names, wrapped(), wrapped(), policy, file_system).prop_map(
        |(numbers, names, wrapped_volume_key, wrapped_canary, revocation_policy, file_system)| Superblock {
            sequence: numbers.0,
            volume_id: names.0.parse().unwrap(),
            database_id: names.1,
            geometry: Geometry::new(numbers.3 * 4096).unwrap(),
            created_at_s: numbers.1,
            kms_key: names.2.parse().unwrap(),
            wrapped_volume_key,
            wrapped_canary,
            key_generation: numbers.2,
            revocation_policy,
            file_system,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_is_read(superblock in any_superblock()) {
        let bytes = superblock.encode(header_mac).unwrap();
        let read = UnverifiedSuperblock::parse(bytes.as_slice()).unwrap();
        prop_assert_eq!(read.unproven(), &superblock);
        prop_assert_eq!(read.verify(mac_is_right), Ok(superblock));
    }

    #[test]
    fn any_flipped_bit_is_noticed(bit in 0..SUPERBLOCK_LEN * 8) {
        let mut bytes = vector("superblock.bin");
        bytes[bit / 8] ^= 1 << (bit % 8);
        let damage = UnverifiedSuperblock::parse(&bytes).map(|_| ()).unwrap_err();
        prop_assert!(damage.is_corruption());
    }

    #[test]
    fn any_flipped_bit_is_refused_although_the_checksum_is_right(bit in 0..superblock::CRC.offset * 8) {
        let mut bytes = vector("superblock.bin");
        bytes[bit / 8] ^= 1 << (bit % 8);
        let read = UnverifiedSuperblock::parse(&with_right_checksum(bytes));
        prop_assert!(!read.is_ok_and(|read| read.verify(mac_is_right).is_ok()));
    }

    #[test]
    fn no_bytes_make_it_panic(
        noise in prop::collection::vec(any::<u8>(), 0..=256), at in 0..SUPERBLOCK_LEN - 256, len in 0..SUPERBLOCK_LEN,
    ) {
        let mut bytes = vector("superblock.bin");
        bytes[at..][..noise.len()].copy_from_slice(&noise);
        let bytes = with_right_checksum(bytes);
        let _ = UnverifiedSuperblock::parse(&bytes);
        let _ = Headers::parse(&bytes, &noise);
        prop_assert!(UnverifiedSuperblock::parse(&bytes[..len]).is_err());
    }
}
