//! Nothing sealed can be edited, cut, swapped or replayed.

use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::format::{DatabaseId, SnapshotId, VolumeId};
use crate::secret::{LockedArea, SealingKey, VolumeKey};

use super::super::entry::{self, ChunkEntry, ContentHash, Location};
use super::super::root::LeafRef;
use super::super::seal::{self, Codec, Place};
use super::super::{HeaderDraft, SnapshotError, SnapshotHeader, SnapshotKind, manifest, pack};

/// As KMS would have made it.
pub(super) fn snapshot_key(seed: u8) -> [u8; 64] {
    let mut bytes = [seed; 64];
    bytes[0] ^= 0xa5;
    bytes
}

pub(super) fn sealing_key(seed: u8) -> SealingKey {
    VolumeKey::new(LockedArea::new().unwrap().place(snapshot_key(seed)).unwrap()).sealing_key().unwrap()
}

pub(super) fn draft(id: &str, size_bytes: u64) -> HeaderDraft {
    let database_id = DatabaseId::Instance("db-X".parse().unwrap());
    let volume_id: VolumeId = "vol-1".parse().unwrap();
    let snapshot_id: SnapshotId = id.parse().unwrap();
    HeaderDraft {
        encryption_context: database_id.snapshot_context(&volume_id, &snapshot_id),
        snapshot_id,
        volume_id,
        database_id,
        size_bytes,
        file_system: Some("xfs".parse().unwrap()),
        created_at: Timestamp::from_second(1_800_000_000).unwrap(),
        kms_key: "arn:aws:kms:eu-central-1:111122223333:key/k".to_owned().try_into().unwrap(),
        wrapped_key: vec![1, 2, 0xff],
        kind: SnapshotKind::Volume,
        source_snapshot_id: None,
        frozen: false,
    }
}

fn header(id: &str) -> SnapshotHeader {
    SnapshotHeader {
        draft: draft(id, 1 << 30),
        base_snapshot_id: None,
        full_bytes: 1,
        incremental_bytes: 2,
        stored_bytes: 3,
        packs: super::super::PackSet::default(),
    }
}

fn entry(chunk: u64) -> ChunkEntry {
    let at = Location { origin: Arc::new("snap-1".parse().unwrap()), pack: 7, offset: 9, len: 4096 + 16 };
    let (key, hash) = (Zeroizing::new([3; 32]), ContentHash([4; 16]));
    ChunkEntry { chunk, at, key, written: 1, hash, codec: Codec::Raw }
}

fn leaf(number: u64) -> LeafRef {
    let entries = [entry(number * 1024)];
    let at = entries[0].at.clone();
    LeafRef { number, packs: LeafRef::packs_of(&at, &entries), at, key: Zeroizing::new([5; 32]), data_bytes: 4096 }
}

#[test]
fn a_manifest_reads_as_it_is_written_and_no_byte_of_it_can_be_changed() {
    let (header, key) = (header("snap-1"), sealing_key(1));
    let object = manifest::encode(&header, &[leaf(0), leaf(3)], &key).unwrap();
    let (read, leaves) = manifest::open(header.id(), &object, &key).unwrap();
    assert_eq!((read, leaves.len(), leaves[1].number), (header.clone(), 2, 3));
    assert!(leaves[1].packs.contains(header.id(), 7));
    for position in 0..object.len() {
        let mut edited = object.clone();
        edited[position] ^= 1;
        let error = manifest::open(header.id(), &edited, &key).err().unwrap();
        let newer = matches!(error, SnapshotError::NewerFormat { .. });
        assert!(newer && (8..12).contains(&position) || matches!(error, SnapshotError::Damaged { .. }), "{position}");
        assert!(manifest::open(header.id(), &object[..position], &key).is_err());
    }
    assert!(manifest::open(header.id(), &object, &sealing_key(2)).is_err());
}

#[test]
fn an_older_manifest_does_not_pass_under_another_name() {
    let (older, key) = (header("snap-1"), sealing_key(1));
    let object = manifest::encode(&older, &[], &key).unwrap();
    let error = manifest::open(&"snap-2".parse().unwrap(), &object, &key).err().unwrap();
    assert_eq!(
        error.to_string(),
        "snapshot snap-2 is damaged or not ours: snapshots/snap-2: it is the manifest of snap-1"
    );
}

#[test]
fn a_blob_opens_in_its_own_place_only() {
    let (lineage, other): (VolumeId, VolumeId) = ("vol-1".parse().unwrap(), "vol-2".parse().unwrap());
    let place = Place::Chunk { number: 5, written: 3 };
    let data = vec![7; 8192];
    for compress in [false, true] {
        let sealed = seal::seal(&lineage, place, compress, &data).unwrap();
        assert_eq!(sealed.codec, if compress { Codec::Zstd } else { Codec::Raw });
        let open = |lineage, place, bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            seal::decrypt(lineage, place, &sealed.key, &mut bytes).map(|payload| payload.to_vec())
        };
        let payload = open(&lineage, place, &sealed.bytes).unwrap();
        let mut opened = vec![0; data.len()];
        match sealed.codec {
            Codec::Raw => opened.copy_from_slice(&payload),
            Codec::Zstd => assert!(seal::decompress(&payload, &mut opened).unwrap()),
        }
        assert_eq!(opened, data);
        for wrong in
            [Place::Chunk { number: 6, written: 3 }, Place::Chunk { number: 5, written: 5 }, Place::Leaf { number: 5 }]
        {
            assert!(open(&lineage, wrong, &sealed.bytes).is_none());
        }
        assert!(open(&other, place, &sealed.bytes).is_none());
        for position in (0..sealed.bytes.len()).step_by(61).chain([sealed.bytes.len() - 1]) {
            let mut edited = sealed.bytes.clone();
            edited[position] ^= 0x80;
            assert!(open(&lineage, place, &edited).is_none(), "{position}");
            assert!(open(&lineage, place, &sealed.bytes[..position]).is_none());
        }
    }
}

#[test]
fn what_does_not_compress_by_a_sixteenth_is_stored_as_it_is() {
    let mut data = vec![0; 512 * 1024];
    getrandom::fill(&mut data).unwrap();
    let place = Place::Chunk { number: 0, written: u128::MAX };
    let sealed = seal::seal(&"vol-1".parse().unwrap(), place, true, &data).unwrap();
    assert_eq!((sealed.codec, sealed.bytes.len()), (Codec::Raw, data.len() + 16));
}

#[test]
fn the_index_of_a_pack_belongs_to_that_pack() {
    let (id, key): (SnapshotId, _) = ("snap-1".parse().unwrap(), sealing_key(1));
    let tail = pack::encode_tail(&id, 7, &[entry(1), entry(0)], &key).unwrap();
    assert_eq!(pack::tail_len(&tail[tail.len() - pack::FOOTER_LEN..]), Some(tail.len()));
    let chunks: Vec<u64> = pack::decode_tail(&id, 7, &tail, &key).unwrap().iter().map(ChunkEntry::chunk).collect();
    assert_eq!(chunks, [1, 0]);
    assert!(pack::decode_tail(&id, 8, &tail, &key).is_none());
    assert!(pack::decode_tail(&"snap-2".parse().unwrap(), 7, &tail, &key).is_none());
    assert!(pack::decode_tail(&id, 7, &tail[1..], &key).is_none());
    assert_eq!(pack::parse_number("00000007"), Some(7));
    assert_eq!(pack::parse_number("123456789"), Some(123_456_789));
    assert!(pack::parse_number("7").is_none() && pack::parse_number("0000000x").is_none());
}

#[test]
fn a_leaf_holds_its_own_chunks_in_order() {
    let encode = |chunks: &[u64]| {
        let entries: Vec<ChunkEntry> = chunks.iter().copied().map(entry).collect();
        entry::encode_entries(entries.iter())
    };
    assert_eq!(entry::decode_leaf(1, &encode(&[1024, 2047])).unwrap().len(), 2);
    for (wrong, why) in
        [(&[1023][..], "another leaf's"), (&[1025, 1024], "order"), (&[1024, 1024], "twice"), (&[], "none")]
    {
        assert!(entry::decode_leaf(1, &encode(wrong)).is_none(), "{why}");
    }
    let bytes = encode(&[1024]);
    assert!((0..bytes.len()).all(|len| entry::decode_leaf(1, &bytes[..len]).is_none()));
}
