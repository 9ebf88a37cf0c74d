//! What a store of snapshots holds. A store may be anybody's: all of it is hostile until a key has opened it, and what a key
//! has opened was still written by somebody.

use std::cell::RefCell;
use std::sync::Arc;

use envol::format::{SnapshotId, VolumeId};
use envol::snapshot::entry::{decode_entries, decode_leaf, encode_entries};
use envol::snapshot::root::{decode_root, encode_root};
use envol::snapshot::{PackSet, SnapshotReader, SnapshotStore, decompress, pack as packs};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::runtime::{Builder, Runtime};

use super::json;
use super::keys::sealing_key;
use crate::patch::choice;

thread_local! {
    static STORE: RefCell<Option<Shelf>> = const { RefCell::new(None) };
}

/// A store in memory.
struct Shelf {
    objects: Arc<InMemory>,
    store: Arc<SnapshotStore>,
    runtime: Runtime,
}

impl Shelf {
    fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        let store = SnapshotStore::from_objects(Arc::clone(&objects) as Arc<dyn ObjectStore>, None).expect("a store");
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        Self { objects, store: Arc::new(store), runtime }
    }

    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.runtime.block_on(self.objects.put(&Path::from(name), bytes.into())).expect("memory takes it");
    }
}

fn with_shelf(act: impl FnOnce(&Shelf)) {
    STORE.with_borrow_mut(|shelf| act(shelf.get_or_insert_with(Shelf::new)));
}

fn id() -> SnapshotId {
    "snap-1".parse().expect("an id")
}

/// One byte to choose by, two of a length, so much of a header, and the root that is sealed with it.
pub(super) fn manifest(data: &[u8]) {
    let (mode, rest) = choice(data);
    let Some(([low, high], rest)) = rest.split_first_chunk() else { return };
    let (header, root) = rest.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(rest.len()));
    let mut object = Vec::new();
    if mode & 1 == 0 {
        object.extend_from_slice(b"ENVOLSNP\x01\0\0\0");
        object.extend_from_slice(&u32::try_from(header.len()).expect("short").to_le_bytes());
    }
    object.extend_from_slice(header);
    let (id, key) = (id(), sealing_key());
    let sealed = key.seal(&object, root).expect("random bytes");
    object.extend_from_slice(if mode & 2 == 0 { &sealed } else { root });
    with_shelf(|shelf| {
        shelf.put("snapshots/snap-1", object);
        let header = shelf.store.header(&id);
        let listing = shelf.store.headers().expect("memory is listed");
        assert_eq!((listing.headers.len(), listing.unreadable.len()), if header.is_ok() { (1, 0) } else { (0, 1) });
        // As a deletion looks at all of them.
        assert_eq!(shelf.store.gc(&|_| false, true).is_ok(), header.is_ok());
        if let Ok(header) = &header {
            assert_eq!(header.id(), &id);
            assert!(json::read::<PackSet>(&serde_json::to_vec(&header.packs).expect("it is written")).is_some());
        }
        if let Ok(reader) = SnapshotReader::open(Arc::clone(&shelf.store), &id, key) {
            assert_eq!(mode & 2, 0, "what was not sealed is not opened");
            let numbers: Vec<u64> = reader.leaf_numbers().collect();
            assert!(numbers.iter().all(|number| *number < reader.leaf_count()));
            let _all: u64 = numbers.iter().map(|number| reader.leaf_data_bytes(*number)).sum();
        }
    });
}

pub(super) fn root(data: &[u8]) {
    let Some(leaves) = decode_root(data) else { return };
    let written = encode_root(&leaves);
    let again = decode_root(&written).expect("what was written can be read");
    assert_eq!(*encode_root(&again), *written);
}

/// Eight bytes of a leaf's number, and the leaf.
pub(super) fn leaf(data: &[u8]) {
    let Some((number, bytes)) = data.split_first_chunk() else { return };
    let number = u64::from_le_bytes(*number);
    if let Some(entries) = decode_leaf(number, bytes) {
        assert!(!entries.is_empty() && entries.iter().all(|entry| entry.chunk() / 1024 == number));
    }
    let Some(entries) = decode_entries(bytes) else { return };
    let written = encode_entries(entries.iter());
    let again = decode_entries(&written).expect("what was written can be read");
    assert_eq!(*encode_entries(again.iter()), *written);
}

/// The end of a pack: as it is, and as an index that somebody has sealed.
pub(super) fn pack(data: &[u8]) {
    let (mode, index) = choice(data);
    let (id, key) = (id(), sealing_key());
    if let Some(len) = packs::tail_len(data) {
        assert!(len >= packs::FOOTER_LEN);
    }
    let _ = packs::parse_number(&String::from_utf8_lossy(index));
    assert!(packs::decode_tail(&id, 0, data, &key).is_none(), "nobody sealed it");
    let number = u32::try_from(mode & 3).expect("small");
    let associated = format!("envol/v1/pack-index packs/{id}/{number:08}");
    let mut tail = key.seal(associated.as_bytes(), index).expect("random bytes");
    tail.extend_from_slice(&[0; packs::FOOTER_LEN]);
    let Some(entries) = packs::decode_tail(&id, number, &tail, &key) else { return };
    let written = packs::encode_tail(&id, number, &entries, &key).expect("random bytes");
    let footer = &written[written.len() - packs::FOOTER_LEN..];
    assert_eq!(packs::tail_len(footer), Some(written.len()));
    let again = packs::decode_tail(&id, number, &written, &key).expect("what was written can be read");
    assert_eq!(*encode_entries(again.iter()), *encode_entries(entries.iter()));
}

pub(super) fn marker(data: &[u8]) {
    with_shelf(|shelf| {
        shelf.put("uploads/snap-1", data.to_vec());
        let found = shelf.store.interrupted(&|_| true, &|_| false);
        if let Ok(found) = &found {
            let found = found.as_ref().expect("it is there");
            assert_eq!(found.snapshot_id(), &id());
            assert!(json::read::<PackSet>(&serde_json::to_vec(&found.base_packs).expect("it is written")).is_some());
        }
        // As long as it lives its base stays.
        assert_eq!(shelf.store.gc(&|_| true, true).is_ok(), found.is_ok());
        let _ = json::read::<VolumeId>(data);
    });
}

/// A chunk that was compressed: two bytes of the length that it should have, and what is in the pack.
pub(super) fn chunk(data: &[u8]) {
    let Some(([low, high], payload)) = data.split_first_chunk() else { return };
    let len = (usize::from(u16::from_le_bytes([*low, *high])) % 128 + 1) * 4096;
    let mut plain = vec![0; len];
    let _ = decompress(payload, &mut plain).expect("a context of zstd");
}
