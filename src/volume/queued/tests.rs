//! Requests that nobody waits for, against a store that answers when it is told to, and against a real queue.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::super::tests::{memory, pattern, read, volume_on, write};
use super::*;
use crate::format::Geometry;
use crate::store::{FileStore, ImageLayout, MemoryStore, Store, StoreError};
use crate::volume::{BeforeChunkWrite, Ended, Phase};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = BLOCK_SIZE as u64;

/// Keeps transfers until somebody lets them go.
struct LateStore {
    inner: MemoryStore,
    kept: Mutex<Vec<Transfer>>,
}

impl LateStore {
    fn new(size_bytes: u64) -> Arc<Self> {
        let inner = MemoryStore::new(Geometry::new(size_bytes).unwrap().image_len_bytes());
        Arc::new(Self { inner, kept: Mutex::default() })
    }

    /// All that wait, the first one first.
    fn let_go(&self) {
        self.answer(|transfer| self.carry_out(transfer));
    }

    fn let_go_of_the_first(&self) {
        let mut transfer = self.kept.lock().unwrap().remove(0);
        let result = self.carry_out(&mut transfer);
        (transfer.done)(result, transfer.bytes);
    }

    fn carry_out(&self, transfer: &mut Transfer) -> io::Result<()> {
        let bytes = &mut transfer.bytes[..transfer.len_bytes];
        match transfer.direction {
            Direction::Read => self.inner.read_at(transfer.offset, bytes),
            Direction::Write => self.inner.write_at(transfer.offset, bytes),
            Direction::WriteDurably => self.inner.write_at(transfer.offset, bytes).and_then(|()| self.inner.sync()),
        }
    }

    fn answer(&self, answer: impl Fn(&mut Transfer) -> io::Result<()>) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        for mut transfer in kept {
            let result = answer(&mut transfer);
            (transfer.done)(result, transfer.bytes);
        }
    }

    fn kept(&self) -> usize {
        self.kept.lock().unwrap().len()
    }
}

impl Store for LateStore {
    fn len_bytes(&self) -> io::Result<u64> {
        self.inner.len_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_at(offset, buffer)
    }

    fn has_queue(&self) -> bool {
        true
    }

    fn begin(&self, transfer: Transfer) {
        self.kept.lock().unwrap().push(transfer);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn punch(&self, offset: u64, len_bytes: u64) -> io::Result<()> {
        self.inner.punch(offset, len_bytes)
    }

    fn grow(&self, path: &Path, len_bytes: u64, zeros: &[Range<u64>]) -> Result<(), StoreError> {
        self.inner.grow(path, len_bytes, zeros)
    }

    fn read_header(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.inner.read_header(offset, buffer)
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_header(offset, bytes)
    }
}

type Answer = (Result<(), VolumeError>, Aligned);

fn begin_read(volume: &Arc<Volume>, offset: u64, len: usize) -> Receiver<Answer> {
    let (answer, answered) = channel();
    let done = move |result, bytes| answer.send((result, bytes)).unwrap();
    volume.begin_read(offset, len, Aligned::new(len), &mut Scratch::default(), done);
    answered
}

fn begin_write(volume: &Arc<Volume>, offset: u64, data: &[u8]) -> Receiver<Answer> {
    let (answer, answered) = channel();
    let (first, second) = channel();
    let write = QueuedWrite {
        offset,
        data,
        bytes: Aligned::new(data.len()),
        mode: WriteMode::Queued,
        answer: move |result| first.send(result).unwrap(),
        done: move |bytes| answer.send((second.try_recv().unwrap(), bytes)).unwrap(),
    };
    volume.begin_write(write, &mut Scratch::default());
    answered
}

/// The answer, of which it is expected that it is there at once.
fn write_behind(volume: &Arc<Volume>, offset: u64, data: &[u8], mode: WriteMode) -> Result<(), VolumeError> {
    let (answer, answered) = channel();
    let answer = move |result| answer.send(result).unwrap();
    let write = QueuedWrite { offset, data, bytes: Aligned::new(data.len()), mode, answer, done: drop };
    volume.begin_write(write, &mut Scratch::default());
    answered.try_recv().unwrap()
}

fn terminal() -> Ended {
    Ended { phase: Phase::Terminal, reason: "key-disabled".to_owned(), at: Timestamp::now() }
}

fn late_volume() -> (Arc<LateStore>, Arc<Volume>) {
    let store = LateStore::new(16 * MIB);
    let volume = Arc::new(volume_on(&store, 16 * MIB));
    write(&volume, 0, &pattern(1, 8 * BLOCK_SIZE));
    (store, volume)
}

#[test]
fn a_request_is_answered_when_its_transfer_is_done_and_not_before() {
    let (store, volume) = late_volume();
    let reading = begin_read(&volume, BLOCK, 2 * BLOCK_SIZE);
    let writing = begin_write(&volume, 4 * BLOCK, &[7; 2 * BLOCK_SIZE]);
    assert_eq!(store.kept(), 2);
    assert!(reading.try_recv().is_err() && writing.try_recv().is_err());
    store.let_go();
    let (result, bytes) = reading.recv().unwrap();
    result.unwrap();
    assert!(bytes[..] == pattern(1, 8 * BLOCK_SIZE)[BLOCK_SIZE..3 * BLOCK_SIZE]);
    writing.recv().unwrap().0.unwrap();
    assert!(read(&volume, 4 * BLOCK, 2 * BLOCK_SIZE).unwrap() == [7; 2 * BLOCK_SIZE]);
}

#[test]
fn nothing_is_decrypted_for_a_volume_that_ended_while_the_disk_was_waited_for() {
    for ends in [false, true] {
        let (store, volume) = late_volume();
        let reading = begin_read(&volume, 0, BLOCK_SIZE);
        if ends {
            volume.end(terminal());
        }
        store.let_go();
        let (result, bytes) = reading.recv().unwrap();
        let is_plaintext = bytes[..] == pattern(1, BLOCK_SIZE);
        match result {
            Ok(()) => assert!(!ends && is_plaintext),
            Err(VolumeError::Ended(reason)) => assert!(ends && !is_plaintext && reason == "key-disabled"),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_volume_that_has_ended_begins_nothing() {
    let (store, volume) = late_volume();
    volume.end(terminal());
    for answered in [begin_read(&volume, 0, BLOCK_SIZE), begin_write(&volume, 0, &[1; BLOCK_SIZE])] {
        assert!(matches!(answered.recv().unwrap().0, Err(VolumeError::Ended(_))));
    }
    assert_eq!(store.kept(), 0);
}

#[test]
fn blocks_of_a_write_under_way_are_read_when_it_is_done() {
    let (store, volume) = late_volume();
    let writing = begin_write(&volume, 0, &[7; BLOCK_SIZE]);
    thread::scope(|scope| {
        let (found, reader) = channel();
        let volume = &volume;
        scope.spawn(move || found.send(read(volume, 0, BLOCK_SIZE)).unwrap());
        assert!(reader.recv_timeout(Duration::from_millis(50)).is_err(), "it was read while it was written");
        // The control: its neighbour.
        assert!(read(volume, BLOCK, BLOCK_SIZE).is_ok());
        store.let_go();
        assert!(reader.recv().unwrap().unwrap() == [7; BLOCK_SIZE]);
    });
    writing.recv().unwrap().0.unwrap();
}

/// As a snapshot does.
struct Notes {
    store: Arc<LateStore>,
    /// A chunk, and how many transfers had begun when it was announced.
    seen: Mutex<Vec<(u64, usize)>>,
}

impl BeforeChunkWrite for Notes {
    fn before_chunk_write(&self, chunk: u64) {
        self.seen.lock().unwrap().push((chunk, self.store.kept()));
    }
}

#[test]
fn a_moment_waits_for_writes_under_way_and_those_after_it_are_announced_before_they_begin() {
    let (store, volume) = late_volume();
    let before = begin_write(&volume, 0, &[2; BLOCK_SIZE]);
    let notes = Arc::new(Notes { store: Arc::clone(&store), seen: Mutex::default() });
    let hook = Arc::clone(&notes) as Arc<dyn BeforeChunkWrite>;
    thread::scope(|scope| {
        let (begun, beginning) = channel();
        let volume = &volume;
        scope.spawn(move || begun.send(volume.begin_epoch(hook, || ())).unwrap());
        assert!(beginning.recv_timeout(Duration::from_millis(50)).is_err(), "a write was under way");
        store.let_go();
        beginning.recv().unwrap().unwrap();
    });
    before.recv().unwrap().0.unwrap();
    let after = begin_write(&volume, 128 * BLOCK, &[3; BLOCK_SIZE]);
    assert_eq!((notes.seen.lock().unwrap().clone(), store.kept()), (vec![(1, 0)], 1));
    store.let_go();
    after.recv().unwrap().0.unwrap();
}

#[test]
fn the_first_queued_write_that_fails_is_the_last() {
    let (store, volume) = late_volume();
    let writing = begin_write(&volume, 0, &[2; BLOCK_SIZE]);
    store.answer(|_| Err(io::Error::from_raw_os_error(libc::ENOSPC)));
    let result = writing.recv().unwrap().0;
    assert!(matches!(result, Err(VolumeError::Store { .. })), "{result:?}");
    assert!(matches!(begin_write(&volume, 0, &[2; BLOCK_SIZE]).recv().unwrap().0, Err(VolumeError::Ended(_))));
    assert_eq!(volume.ended().unwrap().phase, Phase::Failed);
}

#[test]
fn a_queued_read_that_fails_is_not() {
    let (store, volume) = late_volume();
    let reading = begin_read(&volume, 0, BLOCK_SIZE);
    store.answer(|_| Err(io::Error::from_raw_os_error(libc::EIO)));
    assert!(matches!(reading.recv().unwrap().0, Err(VolumeError::Store { .. })));
    let reading = begin_read(&volume, 0, BLOCK_SIZE);
    store.let_go();
    reading.recv().unwrap().0.unwrap();
}

#[test]
fn a_block_that_vanished_is_found_in_the_queue_as_well() {
    let (store, volume) = late_volume();
    store.punch(Geometry::new(16 * MIB).unwrap().block_offset(2).unwrap(), BLOCK).unwrap();
    let reading = begin_read(&volume, 0, 4 * BLOCK_SIZE);
    store.let_go();
    assert!(matches!(reading.recv().unwrap().0, Err(VolumeError::LostBlock(block)) if block.0 == 2));
    let reading = begin_read(&volume, 3 * BLOCK, BLOCK_SIZE);
    store.let_go();
    reading.recv().unwrap().0.unwrap();
}

#[test]
fn a_block_that_was_written_by_the_queue_is_in_the_map_after_a_sync() {
    let (store, volume) = late_volume();
    let writing = begin_write(&volume, 100 * BLOCK, &[7; BLOCK_SIZE]);
    volume.sync().unwrap();
    let written = |volume: &Volume| read(volume, 100 * BLOCK, BLOCK_SIZE).unwrap() == [7; BLOCK_SIZE];
    assert!(!written(&volume_on(&store, 16 * MIB)), "it was not answered");
    store.let_go();
    writing.recv().unwrap().0.unwrap();
    volume.sync().unwrap();
    assert!(written(&volume_on(&store, 16 * MIB)));
}

#[test]
fn a_write_behind_is_answered_before_it_arrives_and_a_sync_waits_for_it() {
    for mode in [WriteMode::Behind, WriteMode::Commit] {
        let (store, volume) = late_volume();
        volume.sync().unwrap();
        write_behind(&volume, 0, &[7; BLOCK_SIZE], mode).unwrap();
        assert_eq!(store.kept(), 1);
        assert!(volume.is_writing_behind());
        thread::scope(|scope| {
            let (synced, syncing) = channel();
            let volume = &volume;
            scope.spawn(move || synced.send(volume.sync()).unwrap());
            assert!(syncing.recv_timeout(Duration::from_millis(50)).is_err(), "{mode:?}: it is not written");
            store.let_go();
            syncing.recv().unwrap().unwrap();
        });
        assert!(!volume.is_writing_behind());
        assert!(read(&volume, 0, BLOCK_SIZE).unwrap() == [7; BLOCK_SIZE]);
        // The control: nothing is on its way.
        volume.sync().unwrap();
    }
}

/// Room for it has to be found first, and there may be none.
#[test]
fn a_block_that_was_never_written_is_answered_when_it_is() {
    let (store, volume) = late_volume();
    write_behind(&volume, 7 * BLOCK, &[7; 2 * BLOCK_SIZE], WriteMode::Behind).unwrap();
    assert_eq!(store.kept(), 0);
    assert!(read(&volume, 7 * BLOCK, 2 * BLOCK_SIZE).unwrap() == [7; 2 * BLOCK_SIZE]);
}

/// Told so from the thread of the store, which must not wait.
fn ask(volume: &Volume) -> Receiver<Option<bool>> {
    let (told, arrived) = channel();
    volume.when_arrived(move |result| told.send(result.map(|result| result.is_ok())).unwrap());
    arrived
}

#[test]
fn whoever_asks_for_a_sync_is_told_when_what_was_answered_before_has_arrived() {
    let (store, volume) = late_volume();
    assert_eq!(ask(&volume).try_recv().unwrap(), None, "nothing was synced");
    volume.sync().unwrap();
    assert_eq!(ask(&volume).try_recv().unwrap(), Some(true));
    write_behind(&volume, 0, &[2; BLOCK_SIZE], WriteMode::Commit).unwrap();
    let commit = ask(&volume);
    write_behind(&volume, BLOCK, &[3; BLOCK_SIZE], WriteMode::Behind).unwrap();
    let both = ask(&volume);
    assert!(commit.try_recv().is_err());
    store.let_go_of_the_first();
    assert_eq!(commit.try_recv().unwrap(), Some(true), "it has made itself durable");
    assert!(both.try_recv().is_err(), "the second is on its way");
    store.let_go();
    assert_eq!(both.try_recv().unwrap(), None, "the second is written, and not durable");
    volume.sync().unwrap();
    assert_eq!(ask(&volume).try_recv().unwrap(), Some(true));
}

/// A disk may write it past its cache, where that of the others stays.
#[test]
fn a_commit_vouches_for_no_write_before_it() {
    for is_synced in [false, true] {
        let (store, volume) = late_volume();
        volume.sync().unwrap();
        write_behind(&volume, BLOCK, &[3; BLOCK_SIZE], WriteMode::Behind).unwrap();
        store.let_go();
        if is_synced {
            volume.sync().unwrap();
        }
        write_behind(&volume, 0, &[2; BLOCK_SIZE], WriteMode::Commit).unwrap();
        let commit = ask(&volume);
        store.let_go();
        assert_eq!(commit.try_recv().unwrap(), is_synced.then_some(true));
    }
}

#[test]
fn a_sync_does_not_wait_for_a_read_that_waits_for_the_watch() {
    let (store, volume) = late_volume();
    let reading = begin_read(&volume, 4 * BLOCK, BLOCK_SIZE);
    write_behind(&volume, 0, &[7; BLOCK_SIZE], WriteMode::Behind).unwrap();
    volume.watched_for(Duration::ZERO);
    // Both by the thread that takes back what is done, the read first.
    store.let_go();
    volume.sync().unwrap();
    assert!(reading.try_recv().is_err(), "nobody watches");
    volume.watched_for(Duration::from_secs(600));
    reading.recv().unwrap().0.unwrap();
}

#[test]
fn a_write_behind_that_fails_is_told_to_whoever_asks_for_a_sync_and_to_all_others() {
    for mode in [WriteMode::Behind, WriteMode::Commit] {
        let (store, volume) = late_volume();
        volume.sync().unwrap();
        write_behind(&volume, 0, &[7; BLOCK_SIZE], mode).unwrap();
        let arrived = ask(&volume);
        store.answer(|_| Err(io::Error::from_raw_os_error(libc::EIO)));
        assert_ne!(arrived.recv().unwrap(), Some(true));
        assert!(matches!(volume.sync(), Err(VolumeError::Ended(_))));
        assert!(matches!(write_behind(&volume, 0, &[8; BLOCK_SIZE], mode), Err(VolumeError::Ended(_))));
        assert!(matches!(read(&volume, BLOCK, BLOCK_SIZE), Err(VolumeError::Ended(_))));
        assert_eq!(volume.ended().unwrap().phase, Phase::Failed);
    }
}

#[test]
fn what_is_no_single_transfer_is_answered_all_the_same() {
    let (store, volume) = late_volume();
    let expected = [pattern(1, 8 * BLOCK_SIZE), vec![0; 2 * BLOCK_SIZE]].concat();
    // A part of a block, a block that was never written, both.
    for range in [100..200, 8 * BLOCK_SIZE..9 * BLOCK_SIZE, 4000..9 * BLOCK_SIZE + 1, 0..9 * BLOCK_SIZE] {
        let (result, bytes) = begin_read(&volume, range.start as u64, range.len()).recv().unwrap();
        result.unwrap();
        assert!(bytes[..] == expected[range.clone()], "{range:?}");
    }
    begin_write(&volume, 5, &[9; 5000]).recv().unwrap().0.unwrap();
    assert!(read(&volume, 5, 5000).unwrap() == [9; 5000]);
    let answers = [begin_read(&volume, 16 * MIB, 1), begin_write(&volume, 16 * MIB - 1, &[1; 2])];
    for answered in answers {
        assert!(matches!(answered.recv().unwrap().0, Err(VolumeError::OutOfRange { .. })));
    }
    assert_eq!(store.kept(), 0);
}

/// On ext4 or the like, past the cache; of which tmpfs has none before Linux 6.6.
fn volume_past_the_cache(dir: &Path, size_bytes: u64) -> Arc<Volume> {
    let geometry = Geometry::new(size_bytes).unwrap();
    let layout = ImageLayout { len_bytes: geometry.image_len_bytes(), header_len_bytes: MIB, maps: Vec::new() };
    let path = dir.join("image");
    let mut store = FileStore::create(&path, &layout, &mut |_, _| {}).unwrap();
    store.bypass_cache(&path).unwrap();
    assert!(store.has_queue());
    Arc::new(volume_on(&Arc::new(store), size_bytes))
}

/// So many requests are under way at once, each in a window of its own.
const WINDOWS: usize = 24;
const WINDOW_BLOCKS: usize = 6;
const WINDOW: usize = WINDOW_BLOCKS * BLOCK_SIZE;
const TIB: u64 = 1 << 40;
/// One of the windows has blocks of two regions.
const START: u64 = TIB - (10 * WINDOW + 3 * BLOCK_SIZE) as u64;

#[derive(Clone, Debug)]
enum Operation {
    Read(Range<usize>),
    Write(Range<usize>, u8),
}

fn operation() -> impl Strategy<Value = Operation> {
    let whole = (0..WINDOW_BLOCKS, 1..=WINDOW_BLOCKS)
        .prop_map(|(first, count)| first * BLOCK_SIZE..(first + count).min(WINDOW_BLOCKS) * BLOCK_SIZE);
    let any = (0..WINDOW, 1..WINDOW).prop_map(|(start, len)| start..(start + len).min(WINDOW));
    let range = prop_oneof![4 => whole, 1 => any];
    prop_oneof![
        range.clone().prop_map(Operation::Read),
        (range, 1..=255_u8).prop_map(|(range, fill)| Operation::Write(range, fill)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn many_at_once_behave_like_plain_bytes(
        rounds in prop::collection::vec(prop::collection::vec(operation(), WINDOWS), 1..12)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let volume = volume_past_the_cache(dir.path(), TIB + 16 * MIB);
        let mut model = vec![0_u8; WINDOWS * WINDOW];
        for round in rounds {
            let mut under_way = Vec::new();
            for (window, operation) in round.into_iter().enumerate() {
                let base = window * WINDOW;
                let place = |range: &Range<usize>| START + (base + range.start) as u64;
                under_way.push(match operation {
                    Operation::Read(range) => {
                        let expected = model[base + range.start..base + range.end].to_vec();
                        (begin_read(&volume, place(&range), range.len()), Some(expected))
                    }
                    Operation::Write(range, fill) => {
                        let data = pattern(fill, range.len());
                        model[base + range.start..base + range.end].copy_from_slice(&data);
                        (begin_write(&volume, place(&range), &data), None)
                    }
                });
            }
            for (answered, expected) in under_way {
                let (result, bytes) = answered.recv().unwrap();
                prop_assert!(result.is_ok());
                prop_assert!(expected.is_none_or(|expected| bytes[..] == expected[..]));
            }
        }
        prop_assert!(read(&volume, START, model.len()).unwrap() == model);
    }
}

#[test]
fn writes_of_the_same_blocks_at_once_leave_one_of_them_whole() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume_past_the_cache(dir.path(), 16 * MIB);
    for round in 0..20_u8 {
        let writers: BTreeMap<u8, _> =
            (0..8).map(|writer| (writer, begin_write(&volume, 0, &vec![8 * round + writer; 8 * BLOCK_SIZE]))).collect();
        writers.into_values().for_each(|answered| answered.recv().unwrap().0.unwrap());
        let found = read(&volume, 0, 8 * BLOCK_SIZE).unwrap();
        assert!(found.iter().all(|byte| *byte == found[0]) && found[0] / 8 == round);
    }
}

#[test]
fn a_store_without_a_queue_answers_before_it_returns() {
    let volume = Arc::new(volume_on(&memory(16 * MIB), 16 * MIB));
    begin_write(&volume, 0, &[3; BLOCK_SIZE]).try_recv().unwrap().0.unwrap();
    let (result, bytes) = begin_read(&volume, 0, BLOCK_SIZE).try_recv().unwrap();
    result.unwrap();
    assert!(bytes[..] == [3; BLOCK_SIZE]);
}
