//! A volume as a test knows it, and snapshots made of it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use object_store::memory::InMemory;

use crate::format::SnapshotId;

use super::super::{
    ContentHash, HeaderDraft, SnapshotError, SnapshotHeader, SnapshotReader, SnapshotStore, SnapshotWriter,
    UploadMarker, UploadOptions, Uploader,
};
use super::format::{draft, sealing_key};

pub(super) const SIZE_BYTES: u64 = 3 << 29;
pub(super) const CHUNKS: u64 = SIZE_BYTES / (512 * 1024);

/// What each chunk that was written holds.
pub(super) type Model = BTreeMap<u64, (u128, Vec<u8>)>;

pub(super) fn in_memory() -> Arc<SnapshotStore> {
    Arc::new(SnapshotStore::from_objects(Arc::new(InMemory::new()), None).unwrap())
}

pub(super) fn id(text: &str) -> SnapshotId {
    text.parse().unwrap()
}

pub(super) fn nobody_lives(_: &UploadMarker) -> bool {
    false
}

pub(super) fn options() -> UploadOptions {
    let uploader = Uploader { boot_id: "boot".to_owned(), process: "1".to_owned() };
    UploadOptions { compress: true, uploader, cancelled: Arc::default() }
}

/// xorshift: the same numbers every time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A few blocks, or all; some compress and some do not.
    pub(super) fn chunk(&mut self) -> (u128, Vec<u8>) {
        let written = match self.below(4) {
            0 => u128::MAX >> 100,
            _ => 1u128 << self.below(128) | u128::from(self.next() & self.next() & self.next()),
        };
        let mut data = vec![0; usize::try_from(written.count_ones()).unwrap() * 4096];
        let step = if self.below(2) == 0 { 1 } else { 97 };
        for byte in data.iter_mut().step_by(step) {
            *byte = self.next().to_le_bytes()[3];
        }
        (written, data)
    }
}

pub(super) fn hash(written: u128, data: &[u8]) -> ContentHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&written.to_le_bytes()).update(data);
    ContentHash(*hasher.finalize().as_bytes().first_chunk().unwrap())
}

pub(super) fn put(writer: &SnapshotWriter, chunk: u64, (written, data): &(u128, Vec<u8>)) -> Result<(), SnapshotError> {
    writer.put(chunk, hash(*written, data), *written, data)
}

pub(super) fn reader(store: &Arc<SnapshotStore>, text: &str, key: u8) -> SnapshotReader {
    SnapshotReader::open(Arc::clone(store), &id(text), sealing_key(key)).unwrap()
}

pub(super) fn begin(
    store: &Arc<SnapshotStore>,
    draft: HeaderDraft,
    key: u8,
    base: Option<SnapshotReader>,
) -> Result<SnapshotWriter, SnapshotError> {
    SnapshotWriter::begin(Arc::clone(store), draft, sealing_key(key), base, options())
}

/// Everything in `model`, without a base.
pub(super) fn full(store: &Arc<SnapshotStore>, text: &str, key: u8, model: &Model) -> SnapshotHeader {
    let writer = begin(store, draft(text, SIZE_BYTES), key, None).unwrap();
    for (chunk, content) in model {
        put(&writer, *chunk, content).unwrap();
    }
    writer.finish().unwrap()
}

pub(super) fn read(reader: &SnapshotReader) -> Result<Model, SnapshotError> {
    let read = Mutex::new(Model::new());
    reader.read_leaves(
        0..u64::MAX,
        &|chunk, written, data| {
            let before = read.lock().unwrap().insert(chunk, (written, data.to_vec()));
            assert!(before.is_none(), "chunk {chunk} was read twice");
            Ok(())
        },
        &AtomicBool::new(false),
    )?;
    Ok(read.into_inner().unwrap())
}

pub(super) fn objects(store: &SnapshotStore) -> Vec<String> {
    let mut names: Vec<String> = store.list("").unwrap().iter().map(|object| object.location.to_string()).collect();
    names.sort();
    names
}
