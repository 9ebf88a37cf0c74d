//! One body, every store: what the trait promises.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::*;

const LEN: u64 = 4 << 20;

fn keeps_the_contract(store: &dyn Store) {
    assert_eq!(store.len_bytes().unwrap(), LEN);
    let read = |offset, len| {
        let mut buffer = vec![0xEE; len];
        store.read_at(offset, &mut buffer).unwrap();
        buffer
    };

    assert_eq!(read(LEN - 8192, 8192), vec![0; 8192]);
    store.write_at(1_000_001, &[7; 10_000]).unwrap();
    store.sync().unwrap();
    assert_eq!(read(1_000_000, 10_002), [vec![0], vec![7; 10_000], vec![0]].concat());

    store.write_at(2 << 20, &[9; 16384]).unwrap();
    store.punch((2 << 20) + 4096, 8192).unwrap();
    assert_eq!(read(2 << 20, 16384), [vec![9; 4096], vec![0; 8192], vec![9; 4096]].concat());

    let header: Vec<u8> = (0..128 << 10).map(|i| u8::try_from(i % 251).unwrap()).collect();
    store.write_header(8192, &header).unwrap();
    let mut found = vec![0; header.len()];
    store.read_header(8192, &mut found).unwrap();
    assert_eq!(found, header);
    assert_eq!(read(8192, header.len()), header);

    for (offset, len) in [(0, 512), (512, 4096)] {
        let error = store.write_header(offset, &vec![0; len]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let error = store.read_at(LEN - 1, &mut [0; 2]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

fn begin(store: &Arc<impl Store + 'static>, way: Direction, offset: u64, fill: u8, len: usize) -> Receiver<Answer> {
    let (answer, answered) = channel();
    let mut bytes = Aligned::new(len.next_multiple_of(4096) + 4096);
    bytes.fill(fill);
    let keeps_open = Arc::clone(store);
    let done = move |result, bytes| {
        answer.send((result, bytes)).unwrap();
        drop(keeps_open);
    };
    store.begin(Transfer { direction: way, offset, len_bytes: len, bytes, done: Box::new(done) });
    answered
}

type Answer = (io::Result<()>, Aligned);

fn transfers_as_it_promises(store: &Arc<impl Store + 'static>) {
    let [write, synced] = [Direction::Write, Direction::WriteDurably];
    for (way, offset, len) in [
        (write, 1 << 20, 8192),
        (write, (1 << 20) + 512, 100),
        (write, LEN - 4096, 4096),
        (synced, 3 << 20, 8192),
        (synced, (3 << 20) + 512, 100),
    ] {
        begin(store, way, offset, 5, len).recv().unwrap().0.unwrap();
        let (result, bytes) = begin(store, Direction::Read, offset, 6, len).recv().unwrap();
        result.unwrap();
        assert!(bytes[..len].iter().all(|byte| *byte == 5) && bytes[len..].iter().all(|byte| *byte == 6));
    }
    for offset in [LEN - 4096, LEN] {
        let (result, _) = begin(store, Direction::Read, offset, 0, 8192).recv().unwrap();
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
    // Many at once.
    let write = |slot: u8| begin(store, Direction::Write, (2 << 20) + u64::from(slot) * 4096, slot, 4096);
    let writes: Vec<_> = (0..=255).map(write).collect();
    writes.into_iter().for_each(|answered| answered.recv().unwrap().0.unwrap());
    for slot in 0..=255 {
        let (result, bytes) =
            begin(store, Direction::Read, (2 << 20) + u64::from(slot) * 4096, 0, 4096).recv().unwrap();
        result.unwrap();
        assert!(bytes[..4096] == [slot; 4096]);
    }
}

fn file_store(directory: &Path) -> FileStore {
    let layout = ImageLayout { len_bytes: LEN, header_len_bytes: 1 << 20, maps: Vec::new() };
    FileStore::create(&directory.join("image"), &layout, &mut |_, _| {}).unwrap()
}

#[test]
fn memory() {
    keeps_the_contract(&MemoryStore::new(LEN));
    transfers_as_it_promises(&Arc::new(MemoryStore::new(LEN)));
}

#[test]
fn file_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = file_store(directory.path());
    keeps_the_contract(&store);
    transfers_as_it_promises(&Arc::new(store));
}

#[test]
fn file_on_tmpfs() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let store = file_store(directory.path());
    keeps_the_contract(&store);
    transfers_as_it_promises(&Arc::new(store));
}

#[test]
fn file_past_the_cache() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = file_store(directory.path());
    store.bypass_cache(directory.path()).unwrap();
    assert!(store.always_waits() && !file_store(tempfile::tempdir().unwrap().path()).always_waits());
    keeps_the_contract(&store);
    // Both ways see what went the other way.
    let mut memory = vec![7; 3 * 4096];
    let aligned = memory.as_ptr().align_offset(4096);
    for (fill, from) in [(1, aligned), (2, aligned + 1)] {
        let other = aligned + 1 - (from - aligned);
        memory[from..][..4096].fill(fill);
        store.write_at(2 << 20, &memory[from..][..4096]).unwrap();
        store.read_at(2 << 20, &mut memory[other..][..4096]).unwrap();
        assert_eq!(memory[other..][..4096], [fill; 4096]);
    }
    assert!(store.has_queue());
    transfers_as_it_promises(&Arc::new(store));
}

/// What is done and not taken back keeps its room, so that nobody has to be faster than the disk for this.
#[test]
fn what_finds_the_queue_full_is_waited_for() {
    const MANY: u64 = 10_000;
    let directory = tempfile::tempdir().unwrap();
    let mut store = file_store(directory.path());
    store.bypass_cache(directory.path()).unwrap();
    let (answer, answered) = channel();
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let hold: Done = Box::new(move |result, _| {
        // Nothing more is taken back until all have begun.
        released.recv().unwrap();
        result.unwrap();
    });
    let mut first = Some(hold);
    for number in 0..=MANY {
        let answer = answer.clone();
        let done =
            first.take().unwrap_or_else(|| Box::new(move |result: io::Result<()>, _| answer.send(result).unwrap()));
        let offset = number % 512 * 4096;
        let bytes = Aligned::new(4096);
        store.begin(Transfer { direction: Direction::Read, offset, len_bytes: 4096, bytes, done });
    }
    let at_once = answered.try_iter().inspect(|result| assert!(result.is_ok())).count() as u64;
    assert!(at_once > 0 && at_once < MANY, "{at_once} were waited for");
    release.send(()).unwrap();
    (at_once..MANY).for_each(|_| answered.recv().unwrap().unwrap());
}

#[test]
fn a_store_that_its_last_transfer_closes_is_free_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let mut store = file_store(directory.path());
    store.bypass_cache(&path).unwrap();
    let store = Arc::new(store);
    assert!(matches!(FileStore::open(&path), Err(StoreError::Busy { .. })), "the control");
    let answered = begin(&store, Direction::Write, 1 << 20, 1, 4096);
    drop(store);
    answered.recv().unwrap().0.unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while matches!(FileStore::open(&path), Err(StoreError::Busy { .. })) {
        assert!(std::time::Instant::now() < until, "nobody closes it");
        std::thread::yield_now();
    }
}

#[test]
fn memory_of_64_tib_holds_only_what_was_written() {
    let store = MemoryStore::new(64 << 40);
    store.write_at((64 << 40) - 4096, &[1; 4096]).unwrap();
    store.write_at(0, &[1; 12288]).unwrap();
    assert_eq!(store.allocated_pages(), 4);
    store.punch(0, 1 << 40).unwrap();
    assert_eq!(store.allocated_pages(), 1);
    assert!(store.write_at(64 << 40, &[1]).is_err());
}
