//! A decoder that was written from `docs/snapshot-format.md` alone, and shares no code with this room.

use aes_gcm_siv::aead::{Aead, Payload};
use aes_gcm_siv::{Aes256GcmSiv, KeyInit};

use super::super::SnapshotStore;
use super::format::{draft, snapshot_key};
use super::made::{CHUNKS, Model, Random, SIZE_BYTES, begin, full, in_memory, put, reader};

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len);
    *bytes = rest;
    taken
}

fn number(bytes: &mut &[u8], len: usize) -> u128 {
    take(bytes, len).iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn len(bytes: &mut &[u8]) -> usize {
    usize::try_from(number(bytes, 4)).unwrap()
}

fn open(key: &[u8], nonce: &[u8], associated: &[u8], sealed: &[u8]) -> Vec<u8> {
    let key: [u8; 32] = key.try_into().unwrap();
    let nonce: [u8; 12] = nonce.try_into().unwrap();
    Aes256GcmSiv::new(&key.into()).decrypt(&nonce.into(), Payload { msg: sealed, aad: associated }).unwrap()
}

fn origins(bytes: &mut &[u8]) -> Vec<String> {
    (0..len(bytes))
        .map(|_| {
            let len = take(bytes, 1)[0];
            String::from_utf8(take(bytes, len.into()).to_vec()).unwrap()
        })
        .collect()
}

/// What lies at a location.
fn at(store: &SnapshotStore, origins: &[String], bytes: &mut &[u8]) -> Vec<u8> {
    let (origin, pack, offset, size) = (len(bytes), len(bytes), len(bytes), len(bytes));
    let pack = store.read(&format!("packs/{}/{pack:08}", origins[origin])).unwrap().unwrap();
    pack[offset..offset + size].to_vec()
}

fn associated(kind: u8, place: u64, written: u128, lineage: &str) -> Vec<u8> {
    let parts: [&[u8]; 5] =
        [b"envol/v1/snapshot-blob", &[kind], &place.to_le_bytes(), &written.to_le_bytes(), lineage.as_bytes()];
    parts.concat()
}

fn decode(store: &SnapshotStore, name: &str, snapshot_key: &[u8; 64]) -> Model {
    let object = store.read(&format!("snapshots/{name}")).unwrap().unwrap();
    let mut fields = &object[..];
    assert_eq!((take(&mut fields, 8), number(&mut fields, 4)), (&b"ENVOLSNP"[..], 1));
    let header_len = len(&mut fields);
    let header: serde_json::Value = serde_json::from_slice(take(&mut fields, header_len)).unwrap();
    assert_eq!(header["snapshot_id"], name);
    assert_eq!((&header["kind"], &header["file_system"]), (&"volume".into(), &"xfs".into()));
    assert_eq!((&header["wrapped_key"], &header["database_id"]["instance"]), (&"0102ff".into(), &"db-X".into()));
    let lineage = header["volume_id"].as_str().unwrap();

    let mut key = [0; 32];
    hkdf::Hkdf::<sha2::Sha512>::new(None, snapshot_key).expand(b"envol/v1/snapshot-seal", &mut key).unwrap();
    let root = open(&key, &fields[..12], &object[..16 + header_len], &fields[12..]);
    let mut root = &root[..];
    let root_origins = origins(&mut root);
    let mut model = Model::new();
    for _ in 0..len(&mut root) {
        let place = u64::try_from(number(&mut root, 8)).unwrap();
        let sealed = at(store, &root_origins, &mut root);
        let leaf = open(take(&mut root, 32), &[0; 12], &associated(2, place, 0, lineage), &sealed);
        take(&mut root, 8);
        let ranges = len(&mut root);
        take(&mut root, 12 * ranges);

        let mut leaf = &leaf[..];
        let leaf_origins = origins(&mut leaf);
        for _ in 0..len(&mut leaf) {
            let chunk = u64::try_from(number(&mut leaf, 8)).unwrap();
            let sealed = at(store, &leaf_origins, &mut leaf);
            let key = take(&mut leaf, 32);
            let written = number(&mut leaf, 16);
            take(&mut leaf, 16);
            let payload = open(key, &[0; 12], &associated(1, chunk, written, lineage), &sealed);
            let data = match take(&mut leaf, 1)[0] {
                0 => payload,
                _ => zstd::bulk::decompress(&payload, 512 * 1024).unwrap(),
            };
            assert_eq!((data.len(), chunk / 1024), (usize::try_from(written.count_ones()).unwrap() * 4096, place));
            model.insert(chunk, (written, data));
        }
        assert!(leaf.is_empty());
    }
    assert!(root.is_empty());
    model
}

#[test]
fn the_description_of_the_format_is_enough_to_read_a_snapshot() {
    let (store, mut random) = (in_memory(), Random(11));
    let mut model: Model = (0..50).map(|_| (random.below(CHUNKS), random.chunk())).collect();
    full(&store, "snap-1", 1, &model);
    let writer = begin(&store, draft("snap-2", SIZE_BYTES), 2, Some(reader(&store, "snap-1", 1))).unwrap();
    let fresh = random.chunk();
    put(&writer, 7, &fresh).unwrap();
    writer.finish().unwrap();
    assert!(decode(&store, "snap-1", &snapshot_key(1)) == model);
    model.insert(7, fresh);
    assert!(decode(&store, "snap-2", &snapshot_key(2)) == model);
}
