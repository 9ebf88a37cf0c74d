//! Growth against plain models, while others read and write; and what a larger volume must not forget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use jiff::Timestamp;

use super::*;
use crate::cipher::{BLOCK_SIZE, BlockNumber, XtsCipher};
use crate::format::SnapshotId;
use crate::store::{MemoryStore, Store};
use crate::volume::tests::{key, keys, memory, pattern, read, volume_on, write};
use crate::volume::{CHUNK_SIZE, ChangeMap, Ended, Phase, Scratch};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const CHUNK: u64 = CHUNK_SIZE as u64;

fn geometry(size_bytes: u64) -> Geometry {
    Geometry::new(size_bytes).unwrap()
}

/// As the daemon does it.
fn grow(volume: &Volume, store: &MemoryStore, size_bytes: u64) -> Result<(), VolumeError> {
    let growth = volume.growth_to(geometry(size_bytes)).expect("it grows");
    let maps: Vec<_> = growth.map_ranges().collect();
    store.grow("image".as_ref(), growth.to().image_len_bytes(), &maps).unwrap();
    volume.reserve(growth).unwrap();
    volume.grow(growth, keys(growth.regions()), 2)
}

#[test]
fn what_is_behind_the_old_end_is_there_from_the_growth_on() {
    let (old, new) = (TIB - 4096, 2 * TIB + 16 * MIB);
    let store = memory(old);
    let volume = volume_on(&store, old);
    let scratch = &mut Scratch::default();
    write(&volume, old - 4096, &[1; 4096]);
    assert!(matches!(volume.write(old, &[2; 4096], scratch), Err(VolumeError::OutOfRange { .. })));
    grow(&volume, &store, new).unwrap();
    assert_eq!((volume.size_bytes(), volume.chunk_count()), (new, new / CHUNK));
    assert_eq!(volume.growth_to(geometry(new)), None);
    // Across each boundary, and at the end.
    let data = pattern(7, 3 * BLOCK_SIZE);
    let places = [old, TIB + 8192, 2 * TIB - 4096, new - data.len() as u64];
    for at in places {
        assert_eq!(read(&volume, at, data.len()).unwrap(), vec![0; data.len()]);
        write(&volume, at, &data);
    }
    volume.sync().unwrap();
    // The next one is made of its size at once, and has the same keys.
    for volume in [&volume, &volume_on(&store, new)] {
        assert_eq!(read(volume, old - 4096, 4096).unwrap(), [1; 4096]);
        for at in places {
            assert!(read(volume, at, data.len()).unwrap() == data, "at {at}");
        }
    }
    // And each block lies where the format says, under the key of its region.
    let mut stored = vec![0; BLOCK_SIZE];
    store.read_at(geometry(new).block_offset(2 * TIB / 4096).unwrap(), &mut stored).unwrap();
    let mut expected = vec![0; BLOCK_SIZE];
    let cipher = XtsCipher::new(&key(2)).unwrap();
    cipher.encrypt_blocks(BlockNumber(2 * TIB / 4096), &data[BLOCK_SIZE..2 * BLOCK_SIZE], &mut expected);
    assert!(stored == expected);
}

#[test]
fn the_map_of_a_new_region_is_empty_whatever_lay_there() {
    let old = TIB;
    let store = Arc::new(MemoryStore::new(geometry(2 * TIB).image_len_bytes()));
    let map = geometry(2 * TIB).map_ranges().nth(1).unwrap();
    store.write_at(map.start, &[0xff; 4096]).unwrap();
    store.write_at(map.end - 4096, &[0xff; 4096]).unwrap();
    let volume = volume_on(&store, old);
    grow(&volume, &store, 2 * TIB).unwrap();
    assert_eq!(read(&volume, TIB, 8192).unwrap(), [0; 8192]);
    assert!(volume.is_blank().unwrap());
}

#[test]
fn a_volume_that_has_ended_does_not_grow() {
    let store = memory(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    volume.end(Ended { phase: Phase::Terminal, reason: "key-disabled".to_owned(), at: Timestamp::now() });
    let refused = grow(&volume, &store, TIB + 4096);
    assert!(matches!(refused, Err(VolumeError::Ended(reason)) if reason == "key-disabled"));
    assert_eq!(volume.size_bytes(), 16 * MIB);
}

/// Where each worker reads and writes: stretches of its own, so that its model is exact, and all of them where sizes end.
const WORKERS: u64 = 4;
const STRIPE: u64 = 40 * 1024 + 512;

struct Worker<'a> {
    volume: &'a Volume,
    number: u64,
    /// What is tested: from here to there, as far as there is anything.
    tested: std::ops::Range<u64>,
    model: Vec<u8>,
    state: u64,
}

impl Worker<'_> {
    fn random(&mut self) -> u64 {
        // xorshift64* (Vigna, 2016)
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    /// One request, somewhere in what there is by now.
    fn step(&mut self, scratch: &mut Scratch) {
        let start = self.tested.start;
        let end = self.volume.size_bytes().min(self.tested.end) - start;
        let stripes = end.div_ceil(STRIPE * WORKERS);
        let stripe = (self.random() % stripes * WORKERS + self.number) * STRIPE;
        let at = stripe + self.random() % STRIPE;
        let len = (self.random() % STRIPE).min((stripe + STRIPE).saturating_sub(at)).min(end.saturating_sub(at));
        if len == 0 {
            return;
        }
        let range = usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap();
        if self.model.len() < range.end {
            self.model.resize(range.end, 0);
        }
        match self.random() % 8 {
            0 => {
                self.volume.discard(start + at, len, scratch).unwrap();
                self.model[range].fill(0);
            }
            1..4 => {
                let fill = u8::try_from(self.random() % 255).unwrap() + 1;
                let data = pattern(fill, range.len());
                self.volume.write(start + at, &data, scratch).unwrap();
                self.model[range].copy_from_slice(&data);
            }
            4 => self.volume.sync().unwrap(),
            _ => assert!(read(self.volume, start + at, range.len()).unwrap() == self.model[range]),
        }
    }
}

#[test]
fn requests_under_way_see_their_own_bytes_while_the_volume_grows_over_a_region() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [TIB - 2 * MIB, TIB - MIB - 4096, TIB, TIB + 4096, TIB + 3 * MIB, 17 * (TIB / 16), 3 * TIB - 8192];
    let start = TIB - 3 * MIB;
    let tested_end = TIB + 3 * MIB;
    let store = memory(sizes[0]);
    let path = dir.path().join("changes");
    let changes = ChangeMap::open(&path, sizes[0] / CHUNK, 1, [1; 16]).unwrap();
    changes.begin_epoch();
    let base: SnapshotId = "snap-1".parse().unwrap();
    changes.commit_epoch(&base).unwrap();
    let volume = volume_on(&store, sizes[0]).with_changes(changes);
    let (stop, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let models: Vec<Vec<u8>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let (volume, stop, steps) = (&volume, &stop, &steps);
                scope.spawn(move || {
                    let mut worker =
                        Worker { volume, number, tested: start..tested_end, model: Vec::new(), state: number + 1 };
                    let mut scratch = Scratch::default();
                    while !stop.load(Ordering::Relaxed) {
                        worker.step(&mut scratch);
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                    worker.model
                })
            })
            .collect();
        for (at, size_bytes) in sizes.iter().enumerate().skip(1) {
            while steps.load(Ordering::Relaxed) < at as u64 * 300 {
                thread::yield_now();
            }
            grow(&volume, &store, *size_bytes).unwrap();
        }
        let all = steps.load(Ordering::Relaxed) + 300;
        while steps.load(Ordering::Relaxed) < all {
            thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });

    let mut model = vec![0; usize::try_from(tested_end - start).unwrap()];
    for (at, byte) in model.iter_mut().enumerate() {
        let owner = at as u64 / STRIPE % WORKERS;
        *byte = models[usize::try_from(owner).unwrap()].get(at).copied().unwrap_or(0);
    }
    assert!(model[usize::try_from(TIB - start).unwrap()..].iter().any(|byte| *byte != 0), "region 1 was written");
    let last = *sizes.last().unwrap();
    volume.sync().unwrap();
    assert!(read(&volume, start, model.len()).unwrap() == model);
    // Every chunk that holds something has changed since the base, and the file says so to whoever opens it next.
    let holds: Vec<u64> = (0..model.len() as u64 / CHUNK)
        .filter(|chunk| {
            let bytes = usize::try_from(chunk * CHUNK).unwrap()..usize::try_from((chunk + 1) * CHUNK).unwrap();
            model[bytes].iter().any(|byte| *byte != 0)
        })
        .map(|chunk| start / CHUNK + chunk)
        .collect();
    volume.changes().unwrap().close().unwrap();
    drop(volume);
    assert!(read(&volume_on(&store, last), start, model.len()).unwrap() == model);
    let changes = ChangeMap::open(&path, chunk_count(geometry(last)), 2, [2; 16]).unwrap();
    assert_eq!(changes.base(), Some(base));
    let bits = changes.begin_epoch();
    let changed = |chunk: u64| bits[usize::try_from(chunk / 64).unwrap()] & 1 << (chunk % 64) != 0;
    assert!(holds.len() > 8 && holds.iter().all(|chunk| changed(*chunk)));
    assert!(!changed(0) && !changed(chunk_count(geometry(last)) - 1), "the control: what nobody touched");
}
