use super::*;
use crate::format::layout::superblock::{CRC, REQUIRED_FEATURES, VOLUME_ID};
use crate::format::{DatabaseId, FileSystemState, Geometry, MIN_SIZE, RevocationPolicy};
use kms_client::WrappedKey;
use sha2::{Digest, Sha256};

type Bytes = Box<[u8; SUPERBLOCK_LEN]>;

fn tag(key: &str, covered: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(covered).finalize().into()
}

fn ours(covered: &[u8], mac: &[u8; 32]) -> bool {
    tag("ours", covered) == *mac
}

fn copy_by(key: &str, sequence: u64, volume: &str) -> Bytes {
    let superblock = Superblock {
        sequence,
        volume_id: volume.parse().unwrap(),
        database_id: DatabaseId::Instance("db-1".parse().unwrap()),
        geometry: Geometry::new(MIN_SIZE).unwrap(),
        created_at_s: 0,
        kms_key: "arn:aws:kms:eu-central-1:1:key/k".parse().unwrap(),
        wrapped_volume_key: WrappedKey(vec![1; 9]),
        wrapped_canary: WrappedKey(vec![2; 9]),
        key_generation: 1,
        revocation_policy: RevocationPolicy::Terminal,
        file_system: FileSystemState::Blank,
    };
    superblock.encode(|covered| tag(key, covered)).unwrap()
}

fn copy(sequence: u64) -> Bytes {
    copy_by("ours", sequence, "vol-1")
}

fn rotten(mut bytes: Bytes) -> Bytes {
    bytes[5000] ^= 1;
    bytes
}

fn with_right_checksum(mut bytes: Bytes) -> Bytes {
    let crc = crc32fast::hash(&bytes[..CRC.offset]);
    CRC.put(bytes.as_mut_slice(), &crc.to_le_bytes());
    bytes
}

fn read(a: &Bytes, b: &Bytes) -> Result<VerifiedHeader, HeaderError> {
    Headers::parse(a.as_slice(), b.as_slice())?.verify(ours)
}

#[test]
fn two_equal_copies_need_nothing() {
    let header = read(&copy(7), &copy(7)).unwrap();
    assert_eq!(header.superblock.sequence, 7);
    assert_eq!(header.serving, HeaderCopy::A);
    assert!(header.repair.is_none());
}

#[test]
fn a_corrupt_copy_is_repaired_from_the_other() {
    let good = copy(7);
    for broken in [rotten(good.clone()), Box::new([0; SUPERBLOCK_LEN])] {
        for (a, b, damaged) in [(&broken, &good, HeaderCopy::A), (&good, &broken, HeaderCopy::B)] {
            let header = read(a, b).unwrap();
            assert_eq!(header.serving, damaged.other());
            let repair = header.repair.unwrap();
            assert_eq!((repair.copy, &repair.bytes), (damaged, &good));
            assert!(repair.damage.unwrap().is_corruption());
        }
    }
}

#[test]
fn a_copy_that_could_not_be_read_is_corrupt() {
    let header = Headers::parse(&[], copy(1).as_slice()).unwrap().verify(ours).unwrap();
    assert_eq!(header.serving, HeaderCopy::B);
}

#[test]
fn the_newer_copy_serves() {
    for (a, b, older) in [(6, 7, HeaderCopy::A), (7, 6, HeaderCopy::B)] {
        let header = read(&copy(a), &copy(b)).unwrap();
        assert_eq!(header.superblock.sequence, 7);
        assert_eq!(header.write_order(), [older, older.other()]);
        let repair = header.repair.unwrap();
        assert_eq!((repair.copy, repair.damage, repair.bytes), (older, None, copy(7)));
    }
}

/// Every state that a power cut in the midst of an update can leave, from every state it can start in.
#[test]
fn an_update_is_never_half_seen() {
    let starts = [
        [copy(6), copy(6)],
        [copy(6), copy(5)],
        [copy(5), copy(6)],
        [copy(6), rotten(copy(6))],
        [rotten(copy(6)), copy(6)],
    ];
    for start in starts {
        let order = read(&start[0], &start[1]).unwrap().write_order();
        let new = copy(7);
        let mut image = start.clone();
        for (step, target) in order.into_iter().enumerate() {
            let slot = if target == HeaderCopy::A { 0 } else { 1 };
            for written in (0..=SUPERBLOCK_LEN).step_by(512) {
                image[slot] = start[slot].clone();
                image[slot][..written].copy_from_slice(&new[..written]);
                let found = read(&image[0], &image[1]).unwrap().superblock.sequence;
                let first_is_done = step == 1;
                assert!(found == 7 || (found == 6 && !first_is_done), "{found} after {written} of step {step}");
            }
        }
        assert!(read(&image[0], &image[1]).unwrap().repair.is_none());
    }
}

#[test]
fn nothing_to_serve() {
    let zeros = Box::new([0; SUPERBLOCK_LEN]);
    assert_eq!(read(&zeros, &zeros).unwrap_err(), HeaderError::NotAVolume);
    let broken = rotten(copy(1));
    assert!(matches!(read(&broken, &zeros), Err(HeaderError::BothDamaged { .. })));
    assert!(matches!(read(&broken, &broken), Err(HeaderError::BothDamaged { .. })));
}

#[test]
fn one_forged_copy_condemns_the_image() {
    use HeaderCopy::{A, B};
    let forged = |sequence| copy_by("theirs", sequence, "vol-1");
    let refused = |copy| Err(HeaderError::NotAuthentic { copy });
    let verdict = |a: Bytes, b: Bytes| read(&a, &b).map(|header| header.serving);
    assert_eq!(verdict(forged(8), copy(7)), refused(A));
    assert_eq!(verdict(forged(6), copy(7)), refused(A));
    assert_eq!(verdict(copy(7), forged(8)), refused(B));
    assert_eq!(verdict(copy(7), forged(6)), refused(B));
    assert_eq!(verdict(rotten(copy(7)), forged(6)), refused(B));
    assert_eq!(verdict(copy(6), copy(7)), Ok(B));
}

#[test]
fn a_whole_copy_that_breaks_the_format_condemns_the_image() {
    let mut newer = copy(7);
    REQUIRED_FEATURES.put(newer.as_mut_slice(), &[1]);
    let newer = with_right_checksum(newer);
    let refused = HeaderError::Refused { copy: HeaderCopy::B, damage: Damage::Features(1) };
    assert_eq!(read(&copy(7), &newer).unwrap_err(), refused);

    let mut odd = copy(7);
    odd[VOLUME_ID.offset + 39] = b'x';
    let error = read(&with_right_checksum(odd), &copy(7)).unwrap_err().to_string();
    assert_eq!(error, "superblock copy A (at 0 KiB) is whole, but its field `volume_id` is not zero behind its value");
}

#[test]
fn copies_must_be_of_one_volume_and_one_history() {
    let stranger = copy_by("ours", 8, "vol-2");
    assert!(matches!(read(&copy(7), &stranger), Err(HeaderError::TwoVolumes { .. })));
    let twin = copy_by("theirs", 7, "vol-1");
    assert_eq!(read(&copy(7), &twin).unwrap_err(), HeaderError::Conflict { sequence: 7 });
}
