//! One body, every store: what the trait promises.

use std::path::Path;

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

fn file_store(directory: &Path) -> FileStore {
    let layout = ImageLayout { len_bytes: LEN, header_len_bytes: 1 << 20, maps: Vec::new() };
    FileStore::create(&directory.join("image"), &layout, &mut |_, _| {}).unwrap()
}

#[test]
fn memory() {
    keeps_the_contract(&MemoryStore::new(LEN));
}

#[test]
fn file_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    keeps_the_contract(&file_store(directory.path()));
}

#[test]
fn file_on_tmpfs() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    keeps_the_contract(&file_store(directory.path()));
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
