//! The barrier and the hook: what a copy at a point in time needs, against a model and under load.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Barrier, Condvar, Mutex, OnceLock, Weak, mpsc};
use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::cipher::BLOCK_SIZE;
use crate::volume::tests::{memory, pattern, read, volume_on, write};
use crate::volume::{Aligned, CHUNK_SIZE, Ended, Phase, QueuedWrite, Scratch, WriteMode};

const MIB: u64 = 1 << 20;
const CHUNK: u64 = CHUNK_SIZE as u64;
const DEADLINE: Duration = Duration::from_secs(60);

fn end(volume: &Volume) {
    volume.end(Ended { phase: Phase::Terminal, reason: "key-disabled".to_owned(), at: Timestamp::now() });
}

/// Written blocks and ciphertext of a chunk.
type Stored = (u128, Vec<u8>);

/// As the store has it now.
fn stored(volume: &Volume, chunk: u64) -> Stored {
    let mut ciphertext = vec![0; CHUNK_SIZE];
    let written = volume.read_chunk(chunk, &mut ciphertext).unwrap();
    ciphertext.truncate(written.count_ones() as usize * BLOCK_SIZE);
    (written, ciphertext)
}

/// Notes what the store has of a chunk when it is told of it.
#[derive(Default)]
struct Notes {
    volume: OnceLock<Weak<Volume>>,
    seen: Mutex<Vec<(u64, Stored)>>,
}

impl BeforeChunkWrite for Notes {
    fn before_chunk_write(&self, chunk: u64) {
        let volume = self.volume.get().unwrap().upgrade().unwrap();
        if let Some(changes) = volume.changes() {
            let words = changes.begin_epoch();
            assert!(words[0] & 1 << chunk != 0, "chunk {chunk} is not marked before it changes");
            changes.abandon_epoch();
        }
        self.seen.lock().unwrap().push((chunk, stored(&volume, chunk)));
    }
}

fn noting(volume: Volume) -> (Arc<Volume>, Arc<Notes>) {
    let (volume, notes) = (Arc::new(volume), Arc::new(Notes::default()));
    notes.volume.set(Arc::downgrade(&volume)).unwrap();
    volume.begin_epoch(Arc::clone(&notes) as Arc<dyn BeforeChunkWrite>, || ()).unwrap();
    (volume, notes)
}

#[test]
fn the_hook_sees_each_chunk_as_it_was_before_any_kind_of_change() {
    let dir = tempfile::tempdir().unwrap();
    let changes = ChangeMap::open(&dir.path().join("changes"), 32, 1, [1; 16]).unwrap();
    let volume = volume_on(&memory(16 * MIB), 16 * MIB).with_changes(changes);
    write(&volume, 0, &pattern(1, 3 * CHUNK_SIZE));
    let (volume, notes) = noting(volume);
    let discard = |volume: &Volume, offset: u64, len: u64| {
        volume.discard(offset, len, &mut Scratch::default()).unwrap();
    };
    let begin_write = |volume: &Arc<Volume>, offset: u64, data: &[u8]| {
        let bytes = Aligned::new(data.len());
        let answer = |result: Result<(), VolumeError>| result.unwrap();
        let write = QueuedWrite { offset, data, bytes, mode: WriteMode::Queued, answer, done: drop };
        volume.begin_write(write, &mut Scratch::default());
    };
    type Change<'a> = &'a dyn Fn(&Arc<Volume>);
    let changes: [(&str, Change<'_>, &[u64]); 10] = [
        ("whole blocks", &|volume| write(volume, 4096, &[2; 8192]), &[0]),
        ("across chunks", &|volume| write(volume, CHUNK - 4096, &[3; 8192]), &[0, 1]),
        ("blocks that nobody waits for", &|volume| begin_write(volume, CHUNK - 4096, &[8; 8192]), &[0, 1]),
        ("a part of a block", &|volume| write(volume, CHUNK + 100, &[4; 10]), &[1]),
        ("parts of two blocks", &|volume| write(volume, 2 * CHUNK - 10, &[5; 20]), &[1, 2]),
        ("a discard of blocks", &|volume| discard(volume, 8192, 4096), &[0]),
        ("a discard of nothing but blocks", &|volume| discard(volume, 0, 3 * CHUNK), &[0, 1, 2]),
        ("a discard of a part of a block", &|volume| discard(volume, CHUNK + 10, 100), &[1]),
        ("a discard with parts", &|volume| discard(volume, CHUNK - 10, CHUNK + 20), &[0, 2, 1]),
        ("a chunk that was never written", &|volume| write(volume, 9 * CHUNK, &[6; 4096]), &[9]),
    ];
    for (what, change, chunks) in changes {
        let before: Vec<_> = (0..32).map(|chunk| stored(&volume, chunk)).collect();
        change(&volume);
        let seen = std::mem::take(&mut *notes.seen.lock().unwrap());
        assert_eq!(seen.iter().map(|(chunk, _)| *chunk).collect::<Vec<_>>(), chunks, "{what}");
        for (chunk, then) in seen {
            assert!(then == before[usize::try_from(chunk).unwrap()], "{what}: chunk {chunk} had changed");
        }
    }
    volume.end_epoch();
    volume.end_epoch();
    write(&volume, 0, &[7; 4096]);
    assert!(notes.seen.lock().unwrap().is_empty(), "the epoch is over");
    let marked = volume.changes().unwrap().begin_epoch();
    assert_eq!(marked, [0b10_0000_0111]);
}

enum Copy {
    NotYet,
    Now,
    Done(u128, Vec<u8>),
}

/// Copies each chunk once: before it changes, or when its turn comes.
struct Copies {
    volume: OnceLock<Weak<Volume>>,
    chunks: Vec<(Mutex<Copy>, Condvar)>,
}

impl Copies {
    fn copy(&self, chunk: u64) {
        let (state, done) = &self.chunks[usize::try_from(chunk).unwrap()];
        let mut state = state.lock().unwrap();
        loop {
            match &*state {
                Copy::Done(..) => return,
                Copy::Now => state = done.wait(state).unwrap(),
                Copy::NotYet => break,
            }
        }
        *state = Copy::Now;
        drop(state);
        let volume = self.volume.get().unwrap().upgrade().unwrap();
        let (written, ciphertext) = stored(&volume, chunk);
        let mut plaintext = vec![0; ciphertext.len()];
        volume.open_chunk(chunk, written, &ciphertext, &mut plaintext).unwrap();
        *self.chunks[usize::try_from(chunk).unwrap()].0.lock().unwrap() = Copy::Done(written, plaintext);
        done.notify_all();
    }

    fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for (state, _) in &self.chunks {
            let Copy::Done(written, plaintext) = &*state.lock().unwrap() else { panic!("a chunk was not copied") };
            let mut blocks = plaintext.chunks(BLOCK_SIZE);
            for bit in 0..128 {
                let block = if written >> bit & 1 == 1 { blocks.next().unwrap() } else { &[0; BLOCK_SIZE] };
                content.extend_from_slice(block);
            }
        }
        content
    }
}

impl BeforeChunkWrite for Copies {
    fn before_chunk_write(&self, chunk: u64) {
        self.copy(chunk);
    }
}

/// Pseudorandom, from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Writes and discards in `MIB` bytes from `start`, which begin and end within a chunk. Returns what must be there then.
fn change_at_random(volume: &Volume, start: u64, seed: u64, changes: &AtomicU64) -> Vec<u8> {
    let (mut random, mut scratch) = (Random(seed), Scratch::default());
    let mut model = vec![0; usize::try_from(MIB).unwrap()];
    for _ in 0..400 {
        let len = if random.below(2) == 0 { 1 + random.below(20_000) } else { 4096 * (1 + random.below(40)) };
        let grain = if random.below(2) == 0 { 1 } else { 4096 };
        let at = random.below(MIB - len) / grain * grain;
        let place = usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap();
        if random.below(3) == 0 {
            volume.discard(start + at, len, &mut scratch).unwrap();
            model[place].fill(0);
        } else {
            let data = pattern(u8::try_from(random.below(256)).unwrap(), place.len());
            volume.write(start + at, &data, &mut scratch).unwrap();
            model[place].copy_from_slice(&data);
        }
        changes.fetch_add(1, Ordering::Relaxed);
    }
    model
}

#[test]
fn copies_before_change_are_the_content_at_the_barrier() {
    for round in 1..=6 {
        let volume = Arc::new(volume_on(&memory(16 * MIB), 16 * MIB));
        let chunks = (0..32).map(|_| (Mutex::new(Copy::NotYet), Condvar::new())).collect();
        let copies = Arc::new(Copies { volume: OnceLock::new(), chunks });
        copies.volume.set(Arc::downgrade(&volume)).unwrap();
        let changes = AtomicU64::new(0);
        let size = usize::try_from(volume.size_bytes()).unwrap();
        let start = |thread: u64| CHUNK / 2 + thread * MIB;
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|thread| {
                    let (volume, changes) = (&volume, &changes);
                    scope.spawn(move || change_at_random(volume, start(thread), round * 1000 + thread, changes))
                })
                .collect();
            while changes.load(Ordering::Relaxed) < round * 100 {
                std::thread::yield_now();
            }
            let hook = Arc::clone(&copies) as Arc<dyn BeforeChunkWrite>;
            // Readers are not held back.
            let then = volume.begin_epoch(hook, || read(&volume, 0, size).unwrap()).unwrap();
            (0..32).for_each(|chunk| copies.copy(chunk));
            for (thread, handle) in (0..).zip(threads) {
                let model = handle.join().unwrap();
                assert!(read(&volume, start(thread), model.len()).unwrap() == model, "the live volume, round {round}");
            }
            assert!(copies.content() == then, "the copy, round {round}");
        });
    }
}

#[test]
fn the_barrier_is_not_kept_waiting_by_those_who_keep_coming() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    let volume = Arc::new(volume);
    let (stop, started) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(5)));
    let writers: Vec<_> = (0..4)
        .map(|thread| {
            let (volume, stop, started) = (Arc::clone(&volume), Arc::clone(&stop), Arc::clone(&started));
            std::thread::spawn(move || {
                let mut scratch = Scratch::default();
                started.wait();
                while !stop.load(Ordering::Relaxed) {
                    volume.write(thread * 4096, &[1; 64 << 10], &mut scratch).unwrap();
                }
            })
        })
        .collect();
    started.wait();
    let (done, waits) = mpsc::channel();
    let barriers = std::thread::spawn(move || {
        for _ in 0..100 {
            volume.begin_epoch(Arc::new(Quiet), || ()).unwrap();
            volume.end_epoch();
        }
        done.send(()).unwrap();
    });
    let reached = waits.recv_timeout(DEADLINE);
    stop.store(true, Ordering::Relaxed);
    reached.expect("a hundred barriers under load");
    barriers.join().unwrap();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
}

struct Quiet;

impl BeforeChunkWrite for Quiet {
    fn before_chunk_write(&self, _chunk: u64) {}
}

#[test]
fn a_writer_that_waits_for_the_barrier_of_a_volume_that_ends_changes_nothing() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    write(&volume, 0, &[1; 4096]);
    let before = stored(&volume, 0);
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let volume = &volume;
        let writer = scope.spawn(move || {
            told.recv().unwrap();
            volume.write(0, &[2; 4096], &mut Scratch::default())
        });
        let after = volume.begin_epoch(Arc::new(Quiet), || {
            tell.send(()).unwrap();
            let before_it_ended = stored(volume, 0);
            end(volume);
            before_it_ended
        });
        assert!(after.unwrap() == before);
        assert!(matches!(writer.join().unwrap(), Err(VolumeError::Ended(_))));
    });
    assert!(matches!(volume.begin_epoch(Arc::new(Quiet), || ()), Err(VolumeError::Ended(_))));
    assert!(matches!(volume.read_chunk(0, &mut vec![0; CHUNK_SIZE]), Err(VolumeError::Ended(_))));
}

/// Says that it was called, and waits until it is let go.
struct Stuck {
    called: mpsc::SyncSender<()>,
    let_go: Mutex<mpsc::Receiver<()>>,
}

impl BeforeChunkWrite for Stuck {
    fn before_chunk_write(&self, _chunk: u64) {
        self.called.send(()).unwrap();
        self.let_go.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn the_barrier_gives_up_when_the_volume_ends() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    let (called, is_called) = mpsc::sync_channel(1);
    let (let_go, waits) = mpsc::channel();
    volume.begin_epoch(Arc::new(Stuck { called, let_go: Mutex::new(waits) }), || ()).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| volume.write(0, &[2; 4096], &mut Scratch::default()));
        is_called.recv().unwrap();
        let barrier = scope.spawn(|| volume.begin_epoch(Arc::new(Quiet), || ()));
        end(&volume);
        // The writer is still in the hook.
        assert!(matches!(barrier.join().unwrap(), Err(VolumeError::Ended(_))));
        let_go.send(()).unwrap();
        assert!(matches!(writer.join().unwrap(), Err(VolumeError::Ended(_))));
    });
}

#[test]
fn a_write_that_does_not_change_a_chunk_does_not_name_it() {
    let (volume, notes) = noting(volume_on(&memory(16 * MIB), 16 * MIB));
    write(&volume, CHUNK, &[1; CHUNK_SIZE]);
    volume.sync().unwrap();
    read(&volume, 0, 4096).unwrap();
    let chunks: BTreeSet<_> = notes.seen.lock().unwrap().iter().map(|(chunk, _)| *chunk).collect();
    assert_eq!(chunks, BTreeSet::from([1]));
}
