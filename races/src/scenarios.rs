//! What a few threads do to one volume, and what must hold in whatever order they come.

use std::collections::BTreeMap;

use jiff::Timestamp;
use shuttle::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread::{self, JoinHandle};

use super::volume::{
    Aligned, BeforeChunkWrite, CHUNK_SIZE, Ended, Phase, QueuedWrite, Scratch, Volume, VolumeError, VolumeKeys, WriteMode,
};
use crate::cipher::{BLOCK_SIZE, XtsCipher};
use crate::format::Geometry;
use crate::secret::{LockedArea, LockedBox};
use crate::store::{Disk, Store};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = BLOCK_SIZE as u64;
const CHUNK: u64 = CHUNK_SIZE as u64;

fn geometry() -> Geometry {
    Geometry::new(16 * MIB).expect("a size of a volume")
}

fn volume_on(disk: &Arc<Disk>, geometry: Geometry) -> Arc<Volume> {
    let cipher = || XtsCipher::new(&std::array::from_fn(|i| u8::try_from(i).expect("64 bytes"))).expect("two keys");
    let keys = VolumeKeys(vec![locked(cipher)]);
    Arc::new(Volume::new(geometry, Arc::clone(disk) as Arc<dyn Store>, keys))
}

/// In an area that many share: one of its own costs more than all the rest of an order. What was in it is not used again.
fn locked(cipher: impl Fn() -> XtsCipher) -> LockedBox<XtsCipher> {
    static AREA: std::sync::Mutex<Option<Arc<LockedArea>>> = std::sync::Mutex::new(None);
    let mut area = AREA.lock().expect("nobody panics with it in hand");
    if let Some(placed) = area.as_ref().and_then(|area| area.place(cipher()).ok()) {
        return placed;
    }
    let new = LockedArea::new().expect("locked memory");
    area.insert(new).place(cipher()).expect("an empty area has room")
}

fn volume() -> Arc<Volume> {
    volume_on(&Arc::new(Disk::new(geometry())), geometry())
}

fn write(volume: &Volume, offset: u64, data: &[u8]) -> Result<(), VolumeError> {
    volume.write(offset, data, &mut Scratch::default())
}

/// Of one block.
fn begin_write(
    volume: &Arc<Volume>,
    offset: u64,
    fill: u8,
    mode: WriteMode,
    answer: impl FnOnce(Result<(), VolumeError>) + Send + 'static,
    done: impl FnOnce() -> u8 + Send + 'static,
) {
    let bytes = Aligned::new(BLOCK_SIZE);
    let done = move |_| _ = done();
    let write = QueuedWrite { offset, data: &[fill; BLOCK_SIZE], bytes, mode, answer, done };
    volume.begin_write(write, &mut Scratch::default());
}

fn block(volume: &Volume, number: u64) -> Result<[u8; BLOCK_SIZE], VolumeError> {
    let mut read = [0; BLOCK_SIZE];
    volume.read(number * BLOCK, &mut read, &mut Scratch::default()).map(|()| read)
}

fn spawn<T: Send + 'static>(volume: &Arc<Volume>, work: impl FnOnce(&Volume) -> T + Send + 'static) -> JoinHandle<T> {
    let volume = Arc::clone(volume);
    thread::spawn(move || work(&volume))
}

/// Takes them all first: a lazy iterator would begin each after the end of the one before.
fn joined<T>(threads: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let threads: Vec<_> = threads.into_iter().collect();
    threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
}

fn end(volume: &Volume) {
    volume.end(Ended { phase: Phase::Terminal, reason: "key-disabled".to_owned(), at: Timestamp::UNIX_EPOCH });
}

/// It is the same for whoever asks: served, or ended with the reason.
fn served_or_ended<T>(result: Result<T, VolumeError>) -> Option<T> {
    match result {
        Ok(served) => Some(served),
        Err(VolumeError::Ended(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Parts of one block, written at once, are all there.
pub fn parts_of_one_block() {
    let volume = volume();
    write(&volume, 0, &[9; BLOCK_SIZE]).expect("it serves");
    joined((1..=3_u8).map(|part| spawn(&volume, move |volume| write(volume, u64::from(part) * 512, &[part; 512]).expect("it serves"))));
    let found = block(&volume, 0).expect("it serves");
    for part in 1..=3_u8 {
        assert!(found[usize::from(part) * 512..][..512] == [part; 512], "part {part} is lost");
    }
}

/// Whoever reads a block while it is written and made zeros sees one of the three.
pub fn a_block_is_seen_whole() {
    let volume = volume();
    write(&volume, 0, &[1; BLOCK_SIZE]).expect("it serves");
    let writer = spawn(&volume, |volume| {
        write(volume, 0, &[2; BLOCK_SIZE]).expect("it serves");
        volume.discard(0, BLOCK, &mut Scratch::default()).expect("it serves");
    });
    for seen in joined((0..2).map(|_| spawn(&volume, |volume| block(volume, 0).expect("it serves")))) {
        assert!([1, 2, 0].iter().any(|fill| seen == [*fill; BLOCK_SIZE]), "a block that nobody wrote");
    }
    joined([writer]);
    assert!(block(&volume, 0).expect("it serves") == [0; BLOCK_SIZE]);
}

/// Reads and writes of the same block that nobody waits for: each is answered, once, and a block is seen whole.
pub fn what_nobody_waits_for_is_answered() {
    what_nobody_waits_for(false);
}

/// The same, and the end of the volume at any moment.
pub fn what_nobody_waits_for_is_answered_at_the_end() {
    what_nobody_waits_for(true);
}

fn what_nobody_waits_for(ends: bool) {
    let disk = Arc::new(Disk::with_queue(geometry()));
    let volume = volume_on(&disk, geometry());
    write(&volume, 0, &[9; BLOCK_SIZE]).expect("it serves");
    let answers = Arc::new(AtomicU8::new(0));
    let mut threads: Vec<_> = (1..=3_u8)
        .map(|fill| {
            let (volume, answers) = (Arc::clone(&volume), Arc::clone(&answers));
            thread::spawn(move || {
                if fill == 3 {
                    let done = move |result, bytes: Aligned| {
                        if served_or_ended(result).is_some() {
                            assert!([9, 1, 2].iter().any(|fill| bytes[..] == [*fill; BLOCK_SIZE]), "a block that nobody wrote");
                        }
                        answers.fetch_add(1, Ordering::SeqCst);
                    };
                    volume.begin_read(0, BLOCK_SIZE, Aligned::new(BLOCK_SIZE), &mut Scratch::default(), done);
                } else {
                    let mode = if fill == 1 { WriteMode::Queued } else { WriteMode::Behind };
                    let answered = Arc::new(AtomicBool::new(false));
                    let (answer, answers) = (Arc::clone(&answered), Arc::clone(&answers));
                    let answer = move |result| {
                        served_or_ended(result);
                        assert!(!answer.swap(true, Ordering::SeqCst), "it is answered twice");
                    };
                    let done = move || answers.fetch_add(1, Ordering::SeqCst);
                    begin_write(&volume, 0, fill, mode, answer, done);
                    assert!(mode == WriteMode::Queued || answered.load(Ordering::SeqCst), "it waits for the disk");
                }
            })
        })
        .collect();
    threads.extend(ends.then(|| spawn(&volume, end)));
    threads.extend((0..2).map(|_| {
        let (disk, answers) = (Arc::clone(&disk), Arc::clone(&answers));
        thread::spawn(move || {
            while answers.load(Ordering::SeqCst) < 3 {
                disk.carry_out_one();
                thread::yield_now();
            }
        })
    }));
    joined(threads);
    assert_eq!(answers.load(Ordering::SeqCst), 3);
}

/// A sync that returned has made durable what was answered before it, whatever the syncs, discards and writes beside it do. Within
/// it the disk looks at each page of the map.
pub fn what_a_sync_acknowledged_is_durable() {
    let disk = Arc::new(Disk::new(geometry()));
    let volume = volume_on(&disk, geometry());
    write(&volume, 2 * BLOCK, &[3; BLOCK_SIZE]).expect("it serves");
    volume.sync().expect("it serves");
    let mut threads: Vec<_> = (0..2_u8)
        .map(|number| {
            spawn(&volume, move |volume| {
                write(volume, u64::from(number) * BLOCK, &[number + 1; BLOCK_SIZE]).expect("it serves");
                volume.sync().expect("it serves");
            })
        })
        .collect();
    threads.push(spawn(&volume, |volume| volume.discard(2 * BLOCK, BLOCK, &mut Scratch::default()).expect("it serves")));
    joined(threads);
    let found = volume_on(&Arc::new(disk.after_power_cut()), geometry());
    for (number, fill) in [(0, 1), (1, 2), (2, 0)] {
        assert!(block(&found, number).expect("it serves") == [fill; BLOCK_SIZE], "block {number} is not what was acknowledged");
    }
}

/// The same of writes that were answered while they were on their way, and of the sync that one of them makes itself. Beside them a block
/// is written for the first time, whose bit has to be in the map.
pub fn what_was_answered_on_its_way_is_durable() {
    let disk = Arc::new(Disk::with_queue(geometry()));
    let volume = volume_on(&disk, geometry());
    (0..2).for_each(|number| write(&volume, number * BLOCK, &[9; BLOCK_SIZE]).expect("it serves"));
    volume.sync().expect("it serves");
    let arrived = Arc::new(AtomicU8::new(0));
    let mut threads: Vec<_> = [WriteMode::Commit, WriteMode::Behind]
        .into_iter()
        .zip(0_u8..)
        .map(|(mode, number)| {
            let arrived = Arc::clone(&arrived);
            let volume = Arc::clone(&volume);
            thread::spawn(move || {
                let done = move || arrived.fetch_add(1, Ordering::SeqCst);
                begin_write(&volume, u64::from(number) * BLOCK, number + 1, mode, |result| result.expect("it serves"), done);
                acknowledged(&volume);
            })
        })
        .collect();
    threads.push(spawn(&volume, |volume| {
        write(volume, 2 * BLOCK, &[3; BLOCK_SIZE]).expect("it serves");
        volume.sync().expect("it serves");
    }));
    threads.push(thread::spawn({
        let disk = Arc::clone(&disk);
        move || {
            while arrived.load(Ordering::SeqCst) < 2 {
                disk.carry_out_one();
                thread::yield_now();
            }
        }
    }));
    joined(threads);
    let found = volume_on(&Arc::new(disk.after_power_cut()), geometry());
    for number in 0..3_u8 {
        let seen = block(&found, u64::from(number)).expect("it serves");
        assert!(seen == [number + 1; BLOCK_SIZE], "block {number} is not what was acknowledged");
    }
}

/// As the front-end does it.
fn acknowledged(volume: &Volume) {
    let told = Arc::new(Mutex::new(None));
    let tell = Arc::clone(&told);
    volume.when_arrived(move |result| *tell.lock().expect("no thread panics") = Some(result));
    loop {
        let told = told.lock().expect("no thread panics").take();
        match told {
            Some(Some(result)) => return result.expect("it serves"),
            Some(None) => return volume.sync().expect("it serves"),
            None => thread::yield_now(),
        }
    }
}

/// The end comes among readers, writers, syncs, and a snapshot that begins: nobody waits for ever, and afterwards nothing is served.
pub fn the_end_comes_at_any_moment() {
    let volume = volume();
    write(&volume, 0, &[1; BLOCK_SIZE]).expect("it serves");
    let threads = [
        spawn(&volume, |volume| {
            if let Some(seen) = served_or_ended(block(volume, 0)) {
                assert!(seen == [1; BLOCK_SIZE] || seen == [2; BLOCK_SIZE]);
            }
        }),
        spawn(&volume, |volume| {
            served_or_ended(write(volume, 0, &[2; BLOCK_SIZE]));
            served_or_ended(volume.sync());
        }),
        spawn(&volume, |volume| {
            served_or_ended(volume.begin_epoch(Arc::new(Nothing), || ()));
        }),
    ];
    end(&volume);
    assert!(block(&volume, 0).is_err() && write(&volume, 0, &[3; BLOCK_SIZE]).is_err() && volume.sync().is_err());
    joined(threads);
}

/// While nobody watches the key requests wait, until the volume ends or somebody watches again.
pub fn whoever_waits_for_a_watch_hears_of_the_end() {
    let volume = volume();
    volume.watched_for(std::time::Duration::ZERO);
    let threads = [
        spawn(&volume, |volume| served_or_ended(block(volume, 0)).is_none()),
        spawn(&volume, |volume| served_or_ended(write(volume, 0, &[1; BLOCK_SIZE])).is_none()),
    ];
    end(&volume);
    assert!(joined(threads).into_iter().all(|ended| ended), "served although nobody watched");
}

struct Nothing;

impl BeforeChunkWrite for Nothing {
    fn before_chunk_write(&self, _: u64) {}
}

/// The first block of each chunk, as it was at the barrier.
struct Copies {
    volume: Arc<Volume>,
    copied: Mutex<BTreeMap<u64, u8>>,
}

impl BeforeChunkWrite for Copies {
    fn before_chunk_write(&self, chunk: u64) {
        let mut copied = self.copied.lock().expect("no thread panics");
        copied.entry(chunk).or_insert_with(|| {
            let (mut ciphertext, mut plaintext) = (vec![0; CHUNK_SIZE], vec![0; CHUNK_SIZE]);
            let written = self.volume.read_chunk(chunk, &mut ciphertext).expect("it serves");
            self.volume.open_chunk(chunk, written, &ciphertext, &mut plaintext).expect("it serves");
            assert!(plaintext[..BLOCK_SIZE].iter().all(|byte| *byte == plaintext[0]), "half a write is in the copy");
            plaintext[0]
        });
    }
}

/// A writer changes one chunk after the other; the copy shows one moment, between what was answered before it and what was begun after.
pub fn a_snapshot_shows_one_moment() {
    let volume = volume();
    (0..2).for_each(|chunk| write(&volume, chunk * CHUNK, &[0; BLOCK_SIZE]).expect("it serves"));
    let (begun, answered) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicU8::new(0)));
    let writer = {
        let (begun, answered) = (Arc::clone(&begun), Arc::clone(&answered));
        spawn(&volume, move |volume| {
            for number in 1..=4_u8 {
                begun.store(number, Ordering::SeqCst);
                write(volume, u64::from(number % 2) * CHUNK, &[number; BLOCK_SIZE]).expect("it serves");
                answered.store(number, Ordering::SeqCst);
            }
        })
    };
    let copies = Arc::new(Copies { volume: Arc::clone(&volume), copied: Mutex::default() });
    let earliest = answered.load(Ordering::SeqCst);
    volume.begin_epoch(Arc::clone(&copies) as Arc<dyn BeforeChunkWrite>, || ()).expect("it serves");
    let latest = begun.load(Ordering::SeqCst);
    (0..2).for_each(|chunk| copies.before_chunk_write(chunk));
    volume.end_epoch();
    joined([writer]);
    let copied = copies.copied.lock().expect("no thread panics").clone();
    let (even, odd) = (copied[&0], copied[&1]);
    assert!(even.abs_diff(odd) <= 1, "{even} and {odd} were never there at once");
    let shown = even.max(odd);
    assert!((earliest..=latest).contains(&shown), "{shown} of {earliest} to {latest}");
}

/// A volume grows among requests, and the end may come first.
pub fn a_growth_meets_requests_and_the_end() {
    let (small, large) = (geometry(), Geometry::new(32 * MIB).expect("a size of a volume"));
    let volume = volume_on(&Arc::new(Disk::new(large)), small);
    let growth = volume.growth_to(large).expect("it is larger");
    let last = 32 * MIB - BLOCK;
    let threads = [
        spawn(&volume, move |volume| {
            if served_or_ended(volume.grow(growth, VolumeKeys::none(), 2)).is_some() {
                assert_eq!(volume.size_bytes(), 32 * MIB);
                served_or_ended(write(volume, last, &[4; BLOCK_SIZE]));
            }
        }),
        spawn(&volume, move |volume| match write(volume, last, &[4; BLOCK_SIZE]) {
            Err(VolumeError::OutOfRange { .. }) => {}
            other => drop(served_or_ended(other)),
        }),
        spawn(&volume, |volume| {
            served_or_ended(write(volume, 16 * MIB - BLOCK, &[5; BLOCK_SIZE]));
            served_or_ended(volume.sync());
        }),
    ];
    end(&volume);
    joined(threads);
}
