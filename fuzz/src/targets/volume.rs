//! The maps of a volume: which blocks were written, and which chunks have changed.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use envol::cipher::BLOCK_SIZE;
use envol::format::{Geometry, HEADER_LEN, MIN_SIZE};
use envol::store::{MemoryStore, Store};
use envol::volume::{ChangeMap, Scratch, Volume, VolumeError};
use tempfile::TempDir;

use super::keys::volume_keys;
use crate::patch::{choice, patched};

/// Of the smallest volume.
const BLOCKS: usize = 4096;
const _: () = assert!((BLOCKS * BLOCK_SIZE) as u64 == MIN_SIZE);

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

/// A path of this thread alone.
pub(super) fn scratch_file(name: &str) -> PathBuf {
    DIRECTORY.with(|directory| directory.get_or_init(|| tempfile::tempdir().expect("a directory")).path().join(name))
}

/// Two bytes say where to read, one how much; the rest is the map of the smallest volume, of whose blocks only every third has
/// ciphertext.
pub(super) fn allocation_map(data: &[u8]) {
    let Some(([low, high, count], map)) = data.split_first_chunk() else { return };
    let first = usize::from(u16::from_le_bytes([*low, *high])) % BLOCKS;
    let blocks = first..(first + usize::from(*count) % 64 + 1).min(BLOCKS);

    let geometry = Geometry::new(MIN_SIZE).expect("a size");
    let store = MemoryStore::new(geometry.image_len_bytes());
    let map = &map[..map.len().min(BLOCKS / 8)];
    store.write_at(HEADER_LEN, map).expect("memory takes it");
    let has_ciphertext = |block: usize| block.is_multiple_of(3);
    for block in blocks.clone().filter(|block| has_ciphertext(*block)) {
        let offset = geometry.block_offset(block as u64).expect("in the volume");
        store.write_at(offset, &[0xA5; BLOCK_SIZE]).expect("memory takes it");
    }

    let volume = Volume::new(geometry, Arc::new(store), volume_keys(geometry));
    let is_set = |block: usize| map.get(block / 8).is_some_and(|byte| byte >> (block % 8) & 1 == 1);
    assert_eq!(volume.is_blank().expect("memory is read"), map.iter().all(|byte| *byte == 0));

    let mut out = vec![0xEE; blocks.len() * BLOCK_SIZE];
    match volume.read((blocks.start * BLOCK_SIZE) as u64, &mut out, &mut Scratch::default()) {
        Ok(()) => {
            for (block, bytes) in blocks.clone().zip(out.chunks(BLOCK_SIZE)) {
                let zeros = bytes.iter().all(|byte| *byte == 0);
                assert_eq!(zeros, !is_set(block), "what was never written reads as zeros, and nothing else does");
            }
            assert!(blocks.clone().all(|block| !is_set(block) || has_ciphertext(block)));
        }
        Err(VolumeError::LostBlock(block)) => {
            let block = usize::try_from(block.0).expect("a block of this volume");
            assert!(blocks.contains(&block) && is_set(block) && !has_ciphertext(block));
        }
        Err(error) => panic!("{error}"),
    }
}

/// Changes to a whole file: its header's page, and the first page of each bitmap.
pub(super) fn change_map(data: &[u8]) {
    const CHUNKS: u64 = 64;
    const CRC_AT: usize = 4092;
    let (mode, changes) = choice(data);
    let mut page = vec![0; 4096];
    page[..12].copy_from_slice(b"ENVOLCHG\x02\0\0\0");
    page[12] = 1;
    page[32..40].copy_from_slice(&7_u64.to_le_bytes());
    page[40..48].copy_from_slice(&CHUNKS.to_le_bytes());
    page[14] = 6;
    page[48..54].copy_from_slice(b"snap-1");
    let mut file = page;
    file.resize(3 * 4096, 0);
    let mut file = patched(&file, changes);
    if mode & 1 == 0 {
        let crc = crc32fast::hash(&file[..CRC_AT]);
        file[CRC_AT..4096].copy_from_slice(&crc.to_le_bytes());
    }
    if mode & 2 != 0 {
        file.truncate(mode << 6);
    }
    let path = scratch_file("changes");
    fs::write(&path, &file).expect("a file");
    let map = ChangeMap::open(&path, CHUNKS, 7, [3; 16]).expect("whatever is there, it opens");
    if map.base().is_some() {
        assert!(file.starts_with(b"ENVOLCHG") && file.len() >= 3 * 4096, "what has a base is a whole map");
    }
    let (base, current) = (map.base(), usize::from(file.get(13).copied().unwrap_or(0)));
    let words = map.begin_epoch();
    assert_eq!(words.len(), 1);
    match base {
        Some(_) => assert_eq!(words[0].to_le_bytes(), file[4096 * (1 + current)..][..8]),
        None if file.get(12..4096).is_none() => assert_eq!(words[0], 0),
        None => {}
    }
    map.mark(63);
    map.abandon_epoch();
    assert_eq!(map.begin_epoch()[0], words[0] | 1 << 63);
}
