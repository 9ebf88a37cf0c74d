//! What a snapshot knows of one chunk, and the leaf that holds up to 1024 of them.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::format::SnapshotId;
use crate::volume::written_bytes;

use super::CHUNKS_PER_LEAF;
use super::fields::{Fields, put_len, put_short_text};
use super::seal::{BlobKey, Codec, TAG_LEN};

/// Of written map and ciphertext, keyed: the truth about "unchanged".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHash(pub [u8; 16]);

/// A range of one pack, which belongs to the snapshot that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) origin: Arc<SnapshotId>,
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) len: u32,
}

impl Location {
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.len)
    }
}

/// One chunk of a snapshot: where it lies, and what opens it.
#[derive(Clone)]
pub struct ChunkEntry {
    pub(super) chunk: u64,
    pub(super) at: Location,
    pub(super) key: BlobKey,
    pub(super) written: u128,
    pub(super) hash: ContentHash,
    pub(super) codec: Codec,
}

impl ChunkEntry {
    pub fn chunk(&self) -> u64 {
        self.chunk
    }

    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    pub fn written(&self) -> u128 {
        self.written
    }

    /// Of its plaintext.
    pub(super) fn data_len(&self) -> usize {
        written_bytes(self.written)
    }

    fn is_sound(&self) -> bool {
        let payload = usize::try_from(self.at.len).ok().and_then(|len| len.checked_sub(TAG_LEN));
        let fits = match self.codec {
            Codec::Raw => payload == Some(self.data_len()),
            Codec::Zstd => payload.is_some_and(|len| len < self.data_len()),
        };
        self.written != 0 && fits
    }
}

/// The snapshots that locations name, each once.
#[derive(Default)]
pub(super) struct Origins(Vec<Arc<SnapshotId>>);

impl Origins {
    pub(super) fn index(&mut self, origin: &Arc<SnapshotId>) -> usize {
        // Of a handful; the last one found is nearly always the next one asked for.
        self.0.iter().rposition(|known| known == origin).unwrap_or_else(|| {
            self.0.push(Arc::clone(origin));
            self.0.len() - 1
        })
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        put_len(out, self.0.len());
        for origin in &self.0 {
            put_short_text(out, origin.as_str());
        }
    }

    pub(super) fn decode(fields: &mut Fields) -> Option<Vec<Arc<SnapshotId>>> {
        let count = fields.len()?;
        (0..count).map(|_| fields.short_text()?.parse().ok().map(Arc::new)).collect()
    }
}

pub(super) fn put_location(out: &mut Vec<u8>, origins: &mut Origins, at: &Location) {
    put_len(out, origins.index(&at.origin));
    for field in [at.pack, at.offset, at.len] {
        out.extend_from_slice(&field.to_le_bytes());
    }
}

pub(super) fn take_location(fields: &mut Fields, origins: &[Arc<SnapshotId>]) -> Option<Location> {
    let origin = Arc::clone(origins.get(fields.len()?)?);
    Some(Location { origin, pack: fields.u32()?, offset: fields.u32()?, len: fields.u32()? })
}

/// Entries as they lie in a leaf and in the index of a pack: the origins that they name, and then they.
pub fn encode_entries<'a>(entries: impl Iterator<Item = &'a ChunkEntry>) -> Zeroizing<Vec<u8>> {
    let mut origins = Origins::default();
    let mut body = Zeroizing::new(Vec::with_capacity(CHUNKS_PER_LEAF * ENTRY_LEN));
    let mut count = 0;
    for entry in entries {
        body.extend_from_slice(&entry.chunk.to_le_bytes());
        put_location(&mut body, &mut origins, &entry.at);
        body.extend_from_slice(&*entry.key);
        body.extend_from_slice(&entry.written.to_le_bytes());
        body.extend_from_slice(&entry.hash.0);
        body.push(entry.codec.to_code());
        count += 1;
    }
    let mut out = Zeroizing::new(Vec::with_capacity(body.len() + 64));
    origins.encode(&mut out);
    put_len(&mut out, count);
    out.extend_from_slice(&body);
    out
}

const ENTRY_LEN: usize = 8 + 4 * 4 + 32 + 16 + 16 + 1;

/// `None`: no list of entries that this program would write.
pub fn decode_entries(bytes: &[u8]) -> Option<Vec<ChunkEntry>> {
    let mut fields = Fields(bytes);
    let origins = Origins::decode(&mut fields)?;
    let count = fields.len()?;
    if fields.0.len() != count.checked_mul(ENTRY_LEN)? {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = ChunkEntry {
            chunk: fields.u64()?,
            at: take_location(&mut fields, &origins)?,
            key: Zeroizing::new(fields.array()?),
            written: fields.u128()?,
            hash: ContentHash(fields.array()?),
            codec: Codec::from_code(fields.u8()?)?,
        };
        entries.push(entry.is_sound().then_some(entry)?);
    }
    Some(entries)
}

/// Entries of leaf `number` alone, in the order of their chunks.
pub fn decode_leaf(number: u64, bytes: &[u8]) -> Option<Vec<ChunkEntry>> {
    let entries = decode_entries(bytes)?;
    let ours = entries.iter().all(|entry| leaf_of(entry.chunk) == number);
    let ordered = entries.windows(2).all(|pair| pair[0].chunk < pair[1].chunk);
    (ours && ordered && !entries.is_empty()).then_some(entries)
}

pub(super) fn leaf_of(chunk: u64) -> u64 {
    chunk / CHUNKS_PER_LEAF as u64
}
