//! The root of a snapshot: its leaves, where they lie, and which packs each of them refers to.

use zeroize::Zeroizing;

use super::entry::{ChunkEntry, Location, Origins, put_location, take_location};
use super::fields::{Fields, put_len};
use super::pack_set::PackSet;
use super::seal::BlobKey;

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

/// Leaves in the order of their numbers. `None`: no root that this program would write.
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
            packs.insert_range(origin, [fields.u32()?, fields.u32()?]);
        }
        if leaves.last().is_some_and(|last| last.number >= number) {
            return None;
        }
        leaves.push(LeafRef { number, at, key, data_bytes, packs });
    }
    fields.is_at_end().then_some(leaves)
}
