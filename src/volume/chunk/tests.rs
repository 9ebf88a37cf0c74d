//! Chunks are read as they lie in the store, and come back the same on another volume.

use super::*;
use crate::store::Store;
use crate::volume::tests::{memory, pattern, read, volume_on, write};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const CHUNK: u64 = CHUNK_SIZE as u64;

fn opened(volume: &Volume, chunk: u64) -> (u128, Vec<u8>) {
    let (mut ciphertext, mut plaintext) = (vec![0; CHUNK_SIZE], vec![0; CHUNK_SIZE]);
    let written = volume.read_chunk(chunk, &mut ciphertext).unwrap();
    volume.open_chunk(chunk, written, &ciphertext, &mut plaintext).unwrap();
    plaintext.truncate(written.count_ones() as usize * BLOCK_SIZE);
    (written, plaintext)
}

#[test]
fn a_chunk_is_its_written_blocks_alone() {
    let volume = volume_on(&memory(16 * MIB), 16 * MIB);
    assert_eq!(volume.chunk_count(), 32);
    assert_eq!(opened(&volume, 1), (0, vec![]));
    let data = pattern(3, 3 * BLOCK_SIZE);
    write(&volume, CHUNK - 4096, &data);
    write(&volume, CHUNK + 7 * 4096 + 5, &[9; 10]);
    let (written, plaintext) = opened(&volume, 1);
    assert_eq!(written, 0b1000_0011);
    assert!(plaintext[..8192] == data[4096..]);
    assert_eq!(plaintext[8192..][..20], [&[0; 5][..], &[9; 10], &[0; 5]].concat());
    assert_eq!(opened(&volume, 0), (1 << 127, data[..4096].to_vec()));
}

#[test]
fn chunks_come_back_on_another_volume() {
    // Two regions, the last chunk with five blocks.
    let size = TIB + MIB + 5 * 4096;
    let (one, other) = (volume_on(&memory(size), size), volume_on(&memory(size), size));
    write(&one, TIB - CHUNK + 12_345, &pattern(1, 1_400_000));
    write(&one, size - 4097, &[7; 4097]);
    let last = one.chunk_count() - 1;
    assert_eq!(last * CHUNK, TIB + MIB);
    for chunk in [0, TIB / CHUNK - 1, TIB / CHUNK, TIB / CHUNK + 1, last] {
        let (written, data) = opened(&one, chunk);
        other.write_chunk(chunk, written, &data, &mut Scratch::default()).unwrap();
        assert_eq!(opened(&other, chunk).0, written);
    }
    assert_eq!(opened(&one, last).0, 0b1_1000);
    let (start, len) = (TIB - CHUNK, usize::try_from(CHUNK + MIB).unwrap() + 5 * BLOCK_SIZE);
    assert!(read(&one, start, len).unwrap() == read(&other, start, len).unwrap());
}

#[test]
fn there_is_no_chunk_behind_the_last_and_no_block_behind_the_end() {
    let size = 16 * MIB + 4096;
    let volume = volume_on(&memory(size), size);
    let mut buffer = vec![0; CHUNK_SIZE];
    assert!(matches!(volume.read_chunk(33, &mut buffer), Err(VolumeError::OutOfRange { .. })));
    let scratch = &mut Scratch::default();
    assert!(matches!(volume.write_chunk(u64::MAX, 1, &[1; 4096], scratch), Err(VolumeError::OutOfRange { .. })));
    assert!(matches!(volume.write_chunk(32, 2, &[1; 4096], scratch), Err(VolumeError::OutOfRange { .. })));
    volume.write_chunk(32, 1, &[1; 4096], scratch).unwrap();
    assert_eq!(read(&volume, 16 * MIB, 4096).unwrap(), [1; 4096]);
}

#[test]
fn a_lost_block_of_a_chunk_is_named() {
    let store = memory(16 * MIB);
    let volume = volume_on(&store, 16 * MIB);
    write(&volume, CHUNK, &[9; 4 * 4096]);
    store.punch(volume.geometry().block_offset(130).unwrap(), 4096).unwrap();
    let (mut ciphertext, mut plaintext) = (vec![0; CHUNK_SIZE], vec![0; CHUNK_SIZE]);
    let written = volume.read_chunk(1, &mut ciphertext).unwrap();
    let found = volume.open_chunk(1, written, &ciphertext, &mut plaintext);
    assert!(matches!(found, Err(VolumeError::LostBlock(block)) if block.0 == 130), "{found:?}");
}
