//! The power fails at every write and every sync of a long run, and what the disk then holds is one of the things that the volume promised.
//!
//! The run is recorded once. Then for each moment a disk is made of it: everything before the last finished sync of the store, and of what came
//! later any part, sector by sector, in any order. A volume is opened on it, and each sector of each block must be what was last
//! synced, or something that was written, begun to be written or discarded since.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{BLOCK, MIB, TIB, volume_on};
use crate::cipher::BLOCK_SIZE;
use crate::format::Geometry;
use crate::store::{MemoryStore, Store, StoreError};
use crate::volume::{Scratch, Volume};

const OPERATIONS: usize = 2000;
const SECTOR: usize = 512;
const SECTORS: usize = BLOCK_SIZE / SECTOR;

/// Where the run works: on either side of the boundary of two regions, which lie under different keys and maps.
const FIRST_BLOCK: u64 = TIB / BLOCK - 64;
const BLOCKS: usize = 128;
const SIZE: u64 = TIB + 16 * MIB;

#[derive(Clone, Copy)]
enum Operation {
    /// Of bytes, any offset and length.
    Write {
        start: usize,
        len: usize,
        fill: u8,
    },
    /// Of blocks.
    Discard {
        start: usize,
        len: usize,
    },
    Sync,
    /// Of blocks, followed by a sync.
    Commit {
        start: usize,
        len: usize,
        fill: u8,
    },
}

/// What reached the store, and between which of the volume's operations.
enum Entry {
    Begin(Operation),
    /// The volume said that it is done.
    End(Operation),
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    Punch {
        offset: u64,
        len_bytes: u64,
    },
    Sync,
}

struct RecordingStore {
    inner: MemoryStore,
    log: Mutex<Vec<Entry>>,
}

impl RecordingStore {
    fn note(&self, entry: Entry) {
        self.log.lock().unwrap().push(entry);
    }
}

impl Store for RecordingStore {
    fn len_bytes(&self) -> io::Result<u64> {
        self.inner.len_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.note(Entry::Write { offset, bytes: bytes.to_vec() });
        self.inner.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.note(Entry::Sync);
        self.inner.sync()
    }

    fn punch(&self, offset: u64, len_bytes: u64) -> io::Result<()> {
        self.note(Entry::Punch { offset, len_bytes });
        self.inner.punch(offset, len_bytes)
    }

    fn grow(&self, _: &Path, _: u64, _: &[Range<u64>]) -> Result<(), StoreError> {
        unreachable!("the run keeps its size")
    }

    fn read_header(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_header(offset, buffer)
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_header(offset, bytes)
    }
}

/// SplitMix64, <https://prng.di.unimi.it/splitmix64.c>: the same run for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn operation(&mut self) -> Operation {
        match self.below(10) {
            0..6 => {
                let start = self.below(BLOCKS * BLOCK_SIZE);
                let longest = [100, BLOCK_SIZE, 6 * BLOCK_SIZE][self.below(3)];
                let len = (1 + self.below(longest)).min(BLOCKS * BLOCK_SIZE - start);
                let aligned = self.below(3) == 0;
                let (start, len) = if aligned { (start / BLOCK_SIZE * BLOCK_SIZE, BLOCK_SIZE) } else { (start, len) };
                Operation::Write { start, len, fill: u8::try_from(1 + self.below(255)).unwrap() }
            }
            6..8 => {
                let start = self.below(BLOCKS);
                Operation::Discard { start, len: (1 + self.below(8)).min(BLOCKS - start) }
            }
            8 => Operation::Sync,
            _ => {
                let start = self.below(BLOCKS);
                let len = (1 + self.below(8)).min(BLOCKS - start);
                Operation::Commit { start, len, fill: u8::try_from(1 + self.below(255)).unwrap() }
            }
        }
    }
}

fn byte_offset(in_window: usize) -> u64 {
    FIRST_BLOCK * BLOCK + u64::try_from(in_window).unwrap()
}

fn recorded(seed: u64) -> Vec<Entry> {
    let image_len = Geometry::new(SIZE).unwrap().image_len_bytes();
    let store = Arc::new(RecordingStore { inner: MemoryStore::new(image_len), log: Mutex::default() });
    let volume = Arc::new(volume_on(&store, SIZE));
    let (mut random, mut scratch) = (Random(seed), Scratch::default());
    for _ in 0..OPERATIONS {
        let operation = random.operation();
        store.note(Entry::Begin(operation));
        match operation {
            Operation::Write { start, len, fill } => {
                volume.write(byte_offset(start), &super::pattern(fill, len), &mut scratch).unwrap();
            }
            Operation::Discard { start, len } => {
                volume.discard(byte_offset(start * BLOCK_SIZE), (len * BLOCK_SIZE) as u64, &mut scratch).unwrap();
            }
            Operation::Sync => volume.sync().unwrap(),
            Operation::Commit { start, len, fill } => {
                let data = super::pattern(fill, len * BLOCK_SIZE);
                super::commit(&volume, byte_offset(start * BLOCK_SIZE), &data).unwrap();
                volume.sync().unwrap();
            }
        }
        store.note(Entry::End(operation));
    }
    drop(volume);
    Arc::into_inner(store).unwrap().log.into_inner().unwrap()
}

type Block = [u8; BLOCK_SIZE];

/// Of one block: what it is for whoever reads it now, and what a power cut may bring back.
struct Versions {
    now: Block,
    possible: Vec<Block>,
}

struct Model(Vec<Versions>);

impl Model {
    fn begin(&mut self, operation: Operation) {
        match operation {
            Operation::Write { start, len, fill } => self.write(start, len, fill),
            Operation::Commit { start, len, fill } => self.write(start * BLOCK_SIZE, len * BLOCK_SIZE, fill),
            Operation::Discard { start, len } => {
                self.0[start..start + len].iter_mut().for_each(|block| block.now = [0; BLOCK_SIZE]);
                self.note_possible(start..=start + len - 1);
            }
            Operation::Sync => {}
        }
    }

    fn write(&mut self, start: usize, len: usize, fill: u8) {
        for (at, byte) in (start..).zip(super::pattern(fill, len)) {
            self.0[at / BLOCK_SIZE].now[at % BLOCK_SIZE] = byte;
        }
        self.note_possible(start / BLOCK_SIZE..=(start + len - 1) / BLOCK_SIZE);
    }

    fn note_possible(&mut self, blocks: std::ops::RangeInclusive<usize>) {
        for block in &mut self.0[blocks] {
            block.possible.push(block.now);
        }
    }

    fn end(&mut self, operation: Operation) {
        if matches!(operation, Operation::Sync | Operation::Commit { .. }) {
            self.0.iter_mut().for_each(|block| block.possible = vec![block.now]);
        }
    }

    fn check(&self, volume: &Volume, moment: &str) {
        let mut found = vec![0; BLOCKS * BLOCK_SIZE];
        let read = volume.read(FIRST_BLOCK * BLOCK, &mut found, &mut Scratch::default());
        read.unwrap_or_else(|error| panic!("{moment}: {error}"));
        for (number, (block, found)) in self.0.iter().zip(found.chunks(BLOCK_SIZE)).enumerate() {
            for sector in 0..SECTORS {
                let bytes = sector * SECTOR..(sector + 1) * SECTOR;
                let is_possible = block.possible.iter().any(|version| version[bytes.clone()] == found[bytes.clone()]);
                assert!(
                    is_possible,
                    "{moment}: sector {sector} of block {number} is nothing that was ever to be there"
                );
            }
        }
    }
}

/// How much of what was not synced the disk still got to.
#[derive(Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    /// One sector in so many is lost.
    AllBut(usize),
}

/// The disk as sectors that are not zero.
#[derive(Clone, Default)]
struct Disk(BTreeMap<u64, [u8; SECTOR]>);

impl Disk {
    fn apply(&mut self, entry: &Entry, mut survives: impl FnMut() -> bool) {
        match entry {
            Entry::Write { offset, bytes } => {
                for (number, sector) in (offset / SECTOR as u64..).zip(bytes.chunks(SECTOR)) {
                    if survives() {
                        self.0.insert(number, sector.try_into().expect("whole sectors are written"));
                    }
                }
            }
            Entry::Punch { offset, len_bytes } => {
                for number in offset / SECTOR as u64..(offset + len_bytes) / SECTOR as u64 {
                    if survives() {
                        self.0.remove(&number);
                    }
                }
            }
            Entry::Begin(_) | Entry::End(_) | Entry::Sync => {}
        }
    }

    fn store(&self) -> Arc<MemoryStore> {
        let store = MemoryStore::new(Geometry::new(SIZE).unwrap().image_len_bytes());
        self.0.iter().for_each(|(number, sector)| store.write_at(number * SECTOR as u64, sector).unwrap());
        Arc::new(store)
    }
}

/// `spoil`: what the store does wrong, for the control. Returns at how many moments the power failed.
fn cut_everywhere(seed: u64, spoil: impl Fn(Vec<Entry>) -> Vec<Entry>) -> usize {
    let blank = || Versions { now: [0; BLOCK_SIZE], possible: vec![[0; BLOCK_SIZE]] };
    let mut model = Model((0..BLOCKS).map(|_| blank()).collect());
    let (mut durable, mut unsynced) = (Disk::default(), Vec::new());
    let (mut random, mut cuts) = (Random(!seed), 0);
    for (at, entry) in spoil(recorded(seed)).into_iter().enumerate() {
        match entry {
            Entry::Begin(operation) => model.begin(operation),
            Entry::End(operation) => model.end(operation),
            _ => {
                if matches!(entry, Entry::Sync) {
                    unsynced.drain(..).for_each(|entry| durable.apply(&entry, || true));
                } else {
                    unsynced.push(entry);
                }
                let luck = [Luck::Nothing, Luck::Everything, Luck::AllBut(2), Luck::AllBut(9)][random.below(4)];
                let mut disk = durable.clone();
                for entry in &unsynced {
                    disk.apply(entry, || match luck {
                        Luck::Nothing => false,
                        Luck::Everything => true,
                        Luck::AllBut(every) => random.below(every) != 0,
                    });
                }
                model.check(&volume_on(&disk.store(), SIZE), &format!("seed {seed}, cut at {at}"));
                cuts += 1;
            }
        }
    }
    cuts
}

/// `number`: which of the runs that are made of one seed; scripts/soak.sh gives another one each time.
fn every_cut_leaves_what_was_promised(number: u64) {
    let base = std::env::var("ENVOL_SOAK_SEED").map_or(0, |seed| seed.parse::<u64>().unwrap());
    let seed = base.wrapping_add(number);
    let cuts = cut_everywhere(seed, |log| log);
    assert!(cuts > OPERATIONS, "{cuts} are fewer than there were operations");
}

#[test]
fn the_power_may_fail_at_every_write_and_sync_of_a_run() {
    every_cut_leaves_what_was_promised(1);
}

#[test]
fn the_power_may_fail_at_every_write_and_sync_of_a_second_run() {
    every_cut_leaves_what_was_promised(2);
}

#[test]
fn the_power_may_fail_at_every_write_and_sync_of_a_third_run() {
    every_cut_leaves_what_was_promised(3);
}

/// The control: a disk that does not sync is noticed.
#[test]
#[should_panic(expected = "nothing that was ever to be there")]
fn a_disk_that_does_not_sync_breaks_the_promise() {
    cut_everywhere(1, |log| log.into_iter().filter(|entry| !matches!(entry, Entry::Sync)).collect());
}

/// The control: the order in which a discard clears the map and punches its hole matters. In this run a block that is gone is found
/// before one of which only some sectors are.
#[test]
#[should_panic(expected = "is gone from the backing store")]
fn a_hole_that_is_punched_before_the_map_is_cleared_breaks_the_promise() {
    cut_everywhere(2, |log| {
        let mut spoiled = Vec::new();
        for entry in log {
            let punched_at = spoiled.iter().rposition(|entry| matches!(entry, Entry::Begin(Operation::Discard { .. })));
            match (entry, punched_at) {
                (entry @ Entry::Punch { .. }, Some(begun)) => spoiled.insert(begun + 1, entry),
                (entry, _) => spoiled.push(entry),
            }
        }
        spoiled
    });
}
