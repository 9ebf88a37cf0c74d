//! The root of a snapshot: its leaves, where they lie, and which packs each of them refers to.

use zeroize::Zeroizing;

use super::entry::{ChunkEntry, Location, Origins, put_location, take_location};
use super::fields::{Fields, put_len};
use super::pack_set::PackSet;
use super::seal::BlobKey;
use super::{CHUNK_SIZE, CHUNKS_PER_LEAF};
use crate::format::MAX_SIZE;

/// A leaf as the root knows it.
#[derive(Clone)]
pub struct LeafRef {
    pub(super) number: u64,
    pub(super) at: Location,
    pub(super) key: BlobKey,
    /// Plaintext of all its chunks.
    pub(super) data_bytes: u64,
    /// Those of its chunks, and its own.
    pub(super) packs: PackSet,
}

impl LeafRef {
    pub(super) fn packs_of(at: &Location, entries: &[ChunkEntry]) -> PackSet {
        let mut packs = PackSet::default();
        for location in entries.iter().map(|entry| &entry.at).chain([at]) {
            if !packs.contains(&location.origin, location.pack) {
                packs.insert(&location.origin, location.pack);
            }
        }
        packs
    }
}

pub fn encode_root(leaves: &[LeafRef]) -> Zeroizing<Vec<u8>> {
    let mut origins = Origins::default();
    let mut body = Zeroizing::new(Vec::with_capacity(leaves.len() * 128));
    for leaf in leaves {
        body.extend_from_slice(&leaf.number.to_le_bytes());
        put_location(&mut body, &mut origins, &leaf.at);
        body.extend_from_slice(&*leaf.key);
        body.extend_from_slice(&leaf.data_bytes.to_le_bytes());
        put_len(&mut body, leaf.packs.0.values().map(Vec::len).sum());
        for (origin, ranges) in &leaf.packs.0 {
            for [first, last] in ranges {
                put_len(&mut body, origins.index(&origin.clone().into()));
                body.extend_from_slice(&first.to_le_bytes());
                body.extend_from_slice(&last.to_le_bytes());
            }
        }
    }
    let mut out = Zeroizing::new(Vec::with_capacity(body.len() + 64));
    origins.encode(&mut out);
    put_len(&mut out, leaves.len());
    out.extend_from_slice(&body);
    out
}

/// Of the largest volume.
const MAX_LEAVES: u64 = (MAX_SIZE / CHUNK_SIZE as u64).div_ceil(CHUNKS_PER_LEAF as u64);
const MAX_LEAF_DATA_BYTES: u64 = (CHUNKS_PER_LEAF * CHUNK_SIZE) as u64;

/// Leaves in the order of their numbers, none beyond the largest volume. `None`: no root that this program would write.
pub fn decode_root(bytes: &[u8]) -> Option<Vec<LeafRef>> {
    let mut fields = Fields(bytes);
    let origins = Origins::decode(&mut fields)?;
    let count = fields.len()?;
    let mut leaves: Vec<LeafRef> = Vec::new();
    for _ in 0..count {
        let number = fields.u64()?;
        let at = take_location(&mut fields, &origins)?;
        let key = Zeroizing::new(fields.array()?);
        let data_bytes = fields.u64()?;
        let mut packs = PackSet::default();
        for _ in 0..fields.u32()? {
            let origin = origins.get(fields.len()?)?;
            let (first, last) = (fields.u32()?, fields.u32()?);
            packs.insert_range(origin, (first <= last).then_some([first, last])?);
        }
        if number >= MAX_LEAVES || data_bytes > MAX_LEAF_DATA_BYTES {
            return None;
        }
        if leaves.last().is_some_and(|last| last.number >= number) {
            return None;
        }
        leaves.push(LeafRef { number, at, key, data_bytes, packs });
    }
    fields.is_at_end().then_some(leaves)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn leaf(number: u64, data_bytes: u64, packs: &[[u32; 2]]) -> LeafRef {
        let origin: crate::format::SnapshotId = "snap-1".parse().unwrap();
        LeafRef {
            number,
            at: Location { origin: Arc::new(origin.clone()), pack: 0, offset: 0, len: 100 },
            key: Zeroizing::new([7; 32]),
            data_bytes,
            packs: PackSet([(origin, packs.to_vec())].into()),
        }
    }

    #[test]
    fn a_root_of_a_volume_that_cannot_be_is_refused() {
        let decoded = |leaf: LeafRef| decode_root(&encode_root(&[leaf]));
        let last = decoded(leaf(MAX_LEAVES - 1, MAX_LEAF_DATA_BYTES, &[[0, 3], [5, 5]])).unwrap();
        assert_eq!(last[0].packs, leaf(0, 0, &[[0, 3], [5, 5]]).packs);
        // One more leaf than there are numbers, and a sum that no number holds.
        for (number, data_bytes) in [(MAX_LEAVES, 0), (u64::MAX, 0), (0, MAX_LEAF_DATA_BYTES + 1), (0, u64::MAX)] {
            assert!(decoded(leaf(number, data_bytes, &[])).is_none(), "{number} {data_bytes}");
        }
    }

    #[test]
    fn a_root_whose_ranges_of_packs_run_backwards_is_refused() {
        assert!(decode_root(&encode_root(&[leaf(0, 0, &[[0, 0], [5, 5], [10, 2]])])).is_none());
    }
}
