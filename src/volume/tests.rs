//! The volume against a plain model in memory, and its promises one by one against stores that fail or take notes.

mod power_cut;

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Aligned, Ended, Phase, QueuedWrite, Scratch, Volume, VolumeError, VolumeKeys, WriteMode};
use crate::cipher::{self, BLOCK_SIZE, BlockNumber, XtsCipher};
use crate::format::Geometry;
use crate::secret::LockedArea;
use crate::store::{MemoryStore, Store, StoreError};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const BLOCK: u64 = BLOCK_SIZE as u64;

pub(super) fn key(region: u32) -> [u8; 64] {
    std::array::from_fn(|i| u8::try_from(i).unwrap() ^ u8::try_from(region).unwrap())
}

pub(super) fn keys(regions: Range<u32>) -> VolumeKeys {
    let area = LockedArea::new().unwrap();
    let cipher = |region| area.place(XtsCipher::new(&key(region)).unwrap()).unwrap();
    VolumeKeys(regions.map(cipher).collect())
}

pub(super) fn volume_on(store: &Arc<impl Store + 'static>, size_bytes: u64) -> Volume {
    let geometry = Geometry::new(size_bytes).unwrap();
    Volume::new(geometry, Arc::clone(store) as Arc<dyn Store>, keys(0..geometry.region_count()))
}

pub(super) fn memory(size_bytes: u64) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(Geometry::new(size_bytes).unwrap().image_len_bytes()))
}

pub(super) fn read(volume: &Volume, offset: u64, len: usize) -> Result<Vec<u8>, VolumeError> {
    let mut out = vec![0xEE; len];
    volume.read(offset, &mut out, &mut Scratch::default())?;
    Ok(out)
}

pub(super) fn write(volume: &Volume, offset: u64, data: &[u8]) {
    volume.write(offset, data, &mut Scratch::default()).unwrap();
}

#[derive(Clone, Debug)]
enum Operation {
    Write { range: Range<usize>, fill: u8 },
    Read { range: Range<usize> },
    Discard { range: Range<usize> },
    Sync,
    SyncAndReopen,
}

/// The window of the volume that the model covers: where two regions meet, so that every operation may cross.
const WINDOW: usize = 4 << 20;
const WINDOW_START: u64 = TIB - (2 << 20);

fn operation() -> impl Strategy<Value = Operation> {
    // Some are longer than what is served in one piece.
    let len = prop_oneof![3 => 1..40_000_usize, 1 => 1..WINDOW / 2];
    let any = (0..WINDOW, len).prop_map(|(start, len)| start..WINDOW.min(start + len));
    let aligned = (0..WINDOW / BLOCK_SIZE, 1..9_usize)
        .prop_map(|(block, count)| block * BLOCK_SIZE..WINDOW.min((block + count) * BLOCK_SIZE));
    let range = prop_oneof![any, aligned];
    prop_oneof![
        4 => (range.clone(), 1..=255_u8).prop_map(|(range, fill)| Operation::Write { range, fill }),
        4 => range.clone().prop_map(|range| Operation::Read { range }),
        2 => range.prop_map(|range| Operation::Discard { range }),
        1 => Just(Operation::Sync),
        1 => Just(Operation::SyncAndReopen),
    ]
}

/// Different in each half KiB, so that a block in the wrong place shows.
pub(super) fn pattern(fill: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| fill.wrapping_add(u8::try_from(i / 512 % 256).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn behaves_like_plain_bytes(operations in prop::collection::vec(operation(), 1..60)) {
        let size = TIB + (2 << 20);
        let store = memory(size);
        let mut volume = volume_on(&store, size);
        let mut model = vec![0_u8; WINDOW];
        let place = |range: &Range<usize>| WINDOW_START + u64::try_from(range.start).unwrap();
        for operation in operations {
            match operation {
                Operation::Write { range, fill } => {
                    let data = pattern(fill, range.len());
                    write(&volume, place(&range), &data);
                    model[range].copy_from_slice(&data);
                }
                Operation::Read { range } => {
                    let found = read(&volume, place(&range), range.len()).unwrap();
                    prop_assert!(found == model[range]);
                }
                Operation::Discard { range } => {
                    let len_bytes = u64::try_from(range.len()).unwrap();
                    volume.discard(place(&range), len_bytes, &mut Scratch::default()).unwrap();
                    model[range].fill(0);
                }
                Operation::Sync => volume.sync().unwrap(),
                Operation::SyncAndReopen => {
                    volume.sync().unwrap();
                    volume = volume_on(&store, size);
                }
            }
        }
        let found = read(&volume, WINDOW_START, model.len()).unwrap();
        prop_assert!(found == model);
    }
}

#[test]
fn a_request_across_two_regions_is_encrypted_under_the_key_of_each() {
    let size = TIB + 16 * MIB;
    let (store, geometry) = (memory(size), Geometry::new(size).unwrap());
    let volume = volume_on(&store, size);
    let (first, blocks) = (TIB / BLOCK - 3, 5);
    let plaintext = pattern(9, blocks * BLOCK_SIZE);
    write(&volume, first * BLOCK, &plaintext);

    for (number, plaintext) in (first..).zip(plaintext.chunks(BLOCK_SIZE)) {
        let region = geometry.region_of(number).unwrap();
        assert_eq!(region, u32::from(number >= TIB / BLOCK));
        let mut expected = vec![0; BLOCK_SIZE];
        let cipher = XtsCipher::with_path(&key(region), cipher::Path::Portable).unwrap();
        cipher.encrypt_blocks(BlockNumber(number), plaintext, &mut expected);
        let mut stored = vec![0; BLOCK_SIZE];
        store.read_at(geometry.block_offset(number).unwrap(), &mut stored).unwrap();
        assert!(stored == expected, "block {number}");
    }
    assert_eq!(read(&volume, first * BLOCK, plaintext.len()).unwrap(), plaintext);
}

#[test]
fn never_written_blocks_read_as_zeros() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    assert!(volume.is_blank().unwrap());
    assert_eq!(read(&volume, 0, 3 * 4096).unwrap(), vec![0; 3 * 4096]);
    write(&volume, 4096, &[7; 4096]);
    assert_eq!(read(&volume, 0, 4096).unwrap(), vec![0; 4096]);
    assert_eq!(read(&volume, 4096, 4096).unwrap(), vec![7; 4096]);
    volume.sync().unwrap();
    assert!(!volume.is_blank().unwrap());
}

#[test]
fn the_store_holds_no_plaintext() {
    let store = memory(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    let marker = b"marker that must not be found in the image".repeat(200);
    write(&volume, 12_345, &marker);
    volume.sync().unwrap();
    let mut image = vec![0; usize::try_from(store.len_bytes().unwrap()).unwrap()];
    store.read_at(0, &mut image).unwrap();
    let needle = &marker[..16];
    assert!(!image.windows(needle.len()).any(|window| window == needle));
    assert!(read(&volume, 12_345, marker.len()).unwrap() == marker);
}

#[test]
fn a_block_that_vanished_is_an_error_that_names_it() {
    let store = memory(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, 0, &[9; 4 * 4096]);
    let geometry = Geometry::new(16 * MIB).unwrap();
    store.punch(geometry.block_offset(2).unwrap(), BLOCK).unwrap();

    for (offset, len) in [(2 * 4096, 4096), (0, 4 * 4096), (2 * 4096 + 100, 10)] {
        match read(&volume, offset, len) {
            Err(VolumeError::LostBlock(block)) => assert_eq!(block.0, 2),
            other => panic!("{other:?}"),
        }
    }
    // Changing a part of it would make up the rest.
    let part = volume.write(2 * 4096 + 100, &[1; 10], &mut Scratch::default());
    assert!(matches!(part, Err(VolumeError::LostBlock(block)) if block.0 == 2), "{part:?}");
    // The control: its neighbours are there, and overwriting it whole brings it back.
    assert_eq!(read(&volume, 0, 2 * 4096).unwrap(), vec![9; 2 * 4096]);
    write(&volume, 2 * 4096, &[5; 4096]);
    assert_eq!(read(&volume, 2 * 4096, 4096).unwrap(), vec![5; 4096]);
}

#[test]
fn a_discarded_block_reads_as_zeros_also_after_a_crash() {
    let store = memory(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, 0, &[9; 4 * 4096]);
    volume.sync().unwrap();
    volume.discard(4096, 2 * 4096, &mut Scratch::default()).unwrap();
    // No sync: whoever comes next finds only what is in the store.
    let next = volume_on(&store, 16 * MIB);
    assert_eq!(read(&next, 4096, 2 * 4096).unwrap(), vec![0; 2 * 4096]);
    assert_eq!(read(&next, 0, 4096).unwrap(), vec![9; 4096]);
}

#[test]
fn out_of_range_is_refused_and_the_last_block_is_not() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    for (offset, len) in [(16 * MIB, 1), (16 * MIB - 1, 2), (u64::MAX, 1)] {
        assert!(matches!(read(&volume, offset, len), Err(VolumeError::OutOfRange { .. })));
    }
    write(&volume, 16 * MIB - 4096, &[3; 4096]);
    assert_eq!(read(&volume, 16 * MIB - 1, 1).unwrap(), [3]);
}

#[test]
fn parts_of_one_block_written_at_once_are_all_there() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    for round in 0..20_u8 {
        std::thread::scope(|scope| {
            for part in 0..8_u8 {
                let volume = &volume;
                scope.spawn(move || write(volume, 4096 + u64::from(part) * 512, &[round * 8 + part; 512]));
            }
        });
        let block = read(&volume, 4096, 4096).unwrap();
        for part in 0..8_u8 {
            assert_eq!(block[usize::from(part) * 512..][..512], [round * 8 + part; 512]);
        }
    }
}

#[test]
fn an_ended_volume_serves_nothing() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    write(&volume, 0, &[1; 4096]);
    let ended = Ended { phase: Phase::Terminal, reason: "key-disabled".to_owned(), at: Timestamp::now() };
    assert!(volume.ended().is_none());
    volume.end(ended.clone());
    assert!(matches!(read(&volume, 0, 4096), Err(VolumeError::Ended(reason)) if reason == "key-disabled"));
    assert!(matches!(volume.write(0, &[1; 4096], &mut Scratch::default()), Err(VolumeError::Ended(_))));
    assert!(matches!(volume.sync(), Err(VolumeError::Ended(_))));
    assert!(matches!(volume.discard(0, 4096, &mut Scratch::default()), Err(VolumeError::Ended(_))));
    // The first reason stays.
    volume.end(Ended { phase: Phase::Detached, ..ended });
    assert_eq!(volume.ended().unwrap().phase, Phase::Terminal);
}

#[test]
fn ending_waits_for_nobody_who_waits_for_it() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let (volume, stop) = (&volume, &stop);
            scope.spawn(move || {
                let mut scratch = Scratch::default();
                let mut data = vec![1; 64 << 10];
                while !stop.load(Ordering::Relaxed) {
                    let offset = worker * MIB;
                    if volume
                        .write(offset, &data, &mut scratch)
                        .and_then(|()| volume.read(offset, &mut data, &mut scratch))
                        .is_err()
                    {
                        return;
                    }
                }
                panic!("the volume never ended for worker {worker}");
            });
        }
        volume.end(Ended { phase: Phase::Terminal, reason: String::new(), at: Timestamp::now() });
    });
    stop.store(true, Ordering::Relaxed);
}

/// Takes notes of writes and syncs, and fails where it is told to.
struct NotingStore {
    inner: MemoryStore,
    notes: Mutex<Vec<&'static str>>,
    fail_writes: AtomicBool,
    fail_syncs: AtomicBool,
    map_end: u64,
    syncs: AtomicU64,
}

impl NotingStore {
    fn new(size_bytes: u64) -> Arc<Self> {
        let geometry = Geometry::new(size_bytes).unwrap();
        Arc::new(Self {
            inner: MemoryStore::new(geometry.image_len_bytes()),
            notes: Mutex::default(),
            fail_writes: AtomicBool::new(false),
            fail_syncs: AtomicBool::new(false),
            map_end: geometry.block_offset(0).unwrap(),
            syncs: AtomicU64::new(0),
        })
    }

    fn notes(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.notes.lock().unwrap())
    }

    fn map_bit(&self, geometry: Geometry, block: u64) -> bool {
        let mut byte = [0];
        self.inner.read_at(geometry.map_byte_offset(block).unwrap(), &mut byte).unwrap();
        byte[0] & (1 << (block % 8)) != 0
    }
}

impl Store for NotingStore {
    fn len_bytes(&self) -> io::Result<u64> {
        self.inner.len_bytes()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buf)
    }

    fn write_at(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        if self.fail_writes.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        self.notes.lock().unwrap().push(if offset < self.map_end { "map" } else { "data" });
        self.inner.write_at(offset, buf)
    }

    fn sync(&self) -> io::Result<()> {
        if self.fail_syncs.swap(false, Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.notes.lock().unwrap().push("sync");
        self.inner.sync()
    }

    fn punch(&self, offset: u64, len_bytes: u64) -> io::Result<()> {
        self.notes.lock().unwrap().push("punch");
        self.inner.punch(offset, len_bytes)
    }

    fn grow(&self, path: &Path, len_bytes: u64, zeros: &[Range<u64>]) -> Result<(), StoreError> {
        self.inner.grow(path, len_bytes, zeros)
    }

    fn read_header(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.inner.read_header(offset, buf)
    }

    fn write_header(&self, offset: u64, buf: &[u8]) -> io::Result<()> {
        self.inner.write_header(offset, buf)
    }
}

#[test]
fn the_map_is_written_after_the_data_is_durable() {
    let store = NotingStore::new(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, 0, &[1; 4096]);
    volume.sync().unwrap();
    assert_eq!(store.notes(), ["data", "sync", "map", "sync"]);
    // Only first writes change the map.
    write(&volume, 0, &[2; 4096]);
    volume.sync().unwrap();
    assert_eq!(store.notes(), ["data", "sync"]);
}

/// On a store without a queue it is written when this returns.
pub(super) fn commit(volume: &Arc<Volume>, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
    let (answer, answered) = std::sync::mpsc::channel();
    let bytes = Aligned::new(data.len());
    let answer = move |result| answer.send(result).unwrap();
    let write = QueuedWrite { offset, data, bytes, mode: WriteMode::Commit, answer, done: drop };
    volume.begin_write(write, &mut Scratch::default());
    answered.try_recv().unwrap()
}

#[test]
fn a_sync_finds_done_what_a_commit_made_durable_and_nothing_else() {
    let store = NotingStore::new(16 * MIB);
    let volume = Arc::new(volume_on(&store, 16 * MIB));
    write(&volume, 0, &[1; 4096]);
    volume.sync().unwrap();
    assert_eq!(store.notes(), ["data", "sync", "map", "sync"]);
    commit(&volume, 0, &[2; 4096]).unwrap();
    assert_eq!(store.notes(), ["data", "sync"]);
    volume.sync().unwrap();
    assert!(store.notes().is_empty());
    write(&volume, 0, &[3; 4096]);
    volume.sync().unwrap();
    volume.sync().unwrap();
    assert_eq!(store.notes(), ["data", "sync"]);
    commit(&volume, 0, &[4; 4096]).unwrap();
    write(&volume, 512, &[5; 512]);
    volume.sync().unwrap();
    assert_eq!(store.notes(), ["data", "sync", "data", "sync"]);
}

#[test]
fn a_commit_does_not_make_durable_what_needs_the_map_as_well() {
    let store = NotingStore::new(16 * MIB);
    let volume = Arc::new(volume_on(&store, 16 * MIB));
    write(&volume, 0, &[1; 4096]);
    commit(&volume, 0, &[2; 4096]).unwrap();
    assert_eq!(store.notes(), ["data", "data"]);
    volume.sync().unwrap();
    assert_eq!(store.notes(), ["sync", "map", "sync"]);
}

#[test]
fn the_map_is_cleared_durably_before_blocks_are_given_back() {
    let store = NotingStore::new(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, 0, &[1; 4096]);
    volume.sync().unwrap();
    store.notes();
    volume.discard(0, 4096, &mut Scratch::default()).unwrap();
    assert_eq!(store.notes(), ["map", "sync", "punch"]);
    // Nothing to give back.
    volume.discard(0, 4096, &mut Scratch::default()).unwrap();
    assert!(store.notes().is_empty());
}

#[test]
fn a_discard_does_not_publish_its_neighbours_before_their_data_is_durable() {
    let store = NotingStore::new(16 * MIB);
    let geometry = Geometry::new(16 * MIB).unwrap();
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, 0, &[1; 4096]);
    volume.sync().unwrap();
    write(&volume, 4096, &[1; 4096]);
    volume.discard(0, 4096, &mut Scratch::default()).unwrap();
    assert!(!store.map_bit(geometry, 0));
    assert!(!store.map_bit(geometry, 1), "block 1 was claimed before a sync made it durable");
    volume.sync().unwrap();
    assert!(store.map_bit(geometry, 1));
}

#[test]
fn the_first_failed_write_is_the_last() {
    let store = NotingStore::new(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, 0, &[1; 4096]);
    store.fail_writes.store(true, Ordering::Relaxed);
    let failed = volume.write(0, &[2; 4096], &mut Scratch::default());
    assert!(matches!(failed, Err(VolumeError::Store { .. })), "{failed:?}");
    store.fail_writes.store(false, Ordering::Relaxed);
    assert!(matches!(volume.write(0, &[2; 4096], &mut Scratch::default()), Err(VolumeError::Ended(_))));
    assert_eq!(volume.ended().unwrap().phase, Phase::Failed);
}

#[test]
fn a_failed_sync_is_never_followed_by_success() {
    let store = NotingStore::new(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, 0, &[1; 4096]);
    store.fail_syncs.store(true, Ordering::Relaxed);
    assert!(matches!(volume.sync(), Err(VolumeError::Store { .. })));
    assert!(matches!(volume.sync(), Err(VolumeError::Ended(_))), "the store would have said yes the second time");
    // Attached again, the volume has what an earlier sync made durable, and serves.
    let next = volume_on(&store, 16 * MIB);
    next.sync().unwrap();
}

#[test]
fn a_failed_commit_is_never_followed_by_success() {
    let store = NotingStore::new(16 * MIB);
    let volume = Arc::new(volume_on(&store, 16 * MIB));
    write(&volume, 0, &[1; 4096]);
    volume.sync().unwrap();
    commit(&volume, 0, &[2; 4096]).unwrap();
    volume.sync().unwrap();
    store.fail_syncs.store(true, Ordering::Relaxed);
    assert!(matches!(commit(&volume, 0, &[3; 4096]), Err(VolumeError::Ended(_))));
    assert!(matches!(volume.sync(), Err(VolumeError::Ended(_))), "the store would have said yes the second time");
}
