use super::*;
use crate::format::layout::Field;
use proptest::prelude::*;

fn volume() -> VolumeId {
    "vol-1".parse().unwrap()
}

fn record(sequence: u64) -> LifecycleRecord {
    LifecycleRecord {
        state: LifecycleState::Terminal,
        sequence,
        volume_id: volume(),
        cause: Cause::KeyDisabled,
        at_ms: 1_767_225_600_123,
        request_id: "r-1".to_owned(),
        detail: "DisabledException".to_owned(),
    }
}

const BLANK: [u8; LIFECYCLE_BLOCK_LEN] = [0; LIFECYCLE_BLOCK_LEN];

#[test]
fn one_whole_copy_is_enough() {
    let whole = record(1).encode();
    let mut broken = whole.clone();
    broken[200] ^= 1;
    let of = |a: &[u8], b: &[u8]| LifecycleRecord::of_copies(a, b, &volume());

    assert_eq!(of(&BLANK, &BLANK), Ok(None));
    for other in [BLANK.as_slice(), broken.as_slice(), whole.as_slice(), &[]] {
        assert_eq!(of(whole.as_slice(), other), Ok(Some(record(1))));
        assert_eq!(of(other, whole.as_slice()), Ok(Some(record(1))));
    }
    for (a, b) in [(&BLANK, &*broken), (&*broken, &BLANK), (&*broken, &*broken)] {
        assert!(of(a, b).is_err());
    }
    assert!(of(&[], &BLANK).is_err());
    let newer = record(2).encode();
    assert_eq!(of(whole.as_slice(), newer.as_slice()), Ok(Some(record(2))));
}

#[test]
fn the_record_of_another_volume_is_damage() {
    let whole = record(1).encode();
    let other = "vol-2".parse().unwrap();
    let error = LifecycleRecord::of_copies(whole.as_slice(), &BLANK, &other).unwrap_err();
    assert_eq!(error.to_string(), "the lifecycle record is damaged: copy A is of vol-1; copy B is blank");
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let long = LifecycleRecord { detail: "ä".repeat(200) + "x", request_id: "r".repeat(65), ..record(1) };
    let found = LifecycleRecord::parse(long.encode().as_slice()).unwrap().unwrap();
    assert_eq!(found.detail, "ä".repeat(128));
    assert_eq!(found.request_id, "r".repeat(64));
    let odd = LifecycleRecord { detail: "x".to_owned() + &"ä".repeat(200), ..record(1) };
    let found = LifecycleRecord::parse(odd.encode().as_slice()).unwrap().unwrap();
    assert_eq!(found.detail.len(), 255);
}

/// The rest of the block is zero, so that a torn write of the block is a whole record, old or new.
#[test]
fn the_record_is_in_the_first_sector() {
    assert!(record(1).encode()[LEN..].iter().all(|&byte| byte == 0));
}

#[test]
fn causes_have_codes_of_their_own() {
    for cause in Cause::ALL {
        assert_eq!(Cause::from_code(cause.to_code()), Some(cause));
    }
    assert_eq!(Cause::from_code(0), None);
    assert_eq!(Cause::from_code(8), None);
}

#[test]
fn unknown_states_are_refused_although_the_checksum_is_right() {
    let mut block = record(1).encode();
    let patch = |block: &mut [u8], field: Field, value: u8| {
        field.put(block, &[value]);
        let crc = crc32fast::hash(&block[..CRC.offset]);
        CRC.put(block, &crc.to_le_bytes());
    };
    patch(block.as_mut_slice(), STATE, 3);
    assert!(matches!(LifecycleRecord::parse(block.as_slice()), Err(Damage::Field { field: "state", .. })));
    patch(block.as_mut_slice(), STATE, 1);
    assert_eq!(LifecycleRecord::parse(block.as_slice()), Ok(Some(record(1))));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        sequence in any::<u64>(), at_ms in any::<i64>(), cause in 0..Cause::ALL.len(),
        request_id in "\\PC{0,16}", detail in "\\PC{0,64}",
    ) {
        let record = LifecycleRecord {
            state: LifecycleState::Terminal,
            sequence, volume_id: volume(), cause: Cause::ALL[cause], at_ms, request_id, detail,
        };
        prop_assert_eq!(LifecycleRecord::parse(record.encode().as_slice()), Ok(Some(record)));
    }

    #[test]
    fn any_flipped_bit_is_noticed(bit in 0..LEN * 8) {
        let mut block = record(1).encode();
        block[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(LifecycleRecord::parse(block.as_slice()).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(mut block in prop::collection::vec(any::<u8>(), LEN), magic in any::<bool>()) {
        if magic {
            MAGIC.put(&mut block, &MAGIC_BYTES);
            FORMAT_VERSION.put(&mut block, &[1, 0, 0, 0]);
            STATE.put(&mut block, &[1]);
        }
        let crc = crc32fast::hash(&block[..CRC.offset]);
        CRC.put(&mut block, &crc.to_le_bytes());
        prop_assert!(LifecycleRecord::parse(&block).is_err());
    }
}
