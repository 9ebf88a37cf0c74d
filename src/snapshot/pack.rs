//! A pack: about 32 MiB of sealed chunks and leaves, the sealed index of its chunks, and a footer that says how long that is.
//!
//! The index is for whoever takes up an interrupted upload, and for nobody else.

use crate::format::SnapshotId;
use crate::secret::SealingKey;

use super::SnapshotError;
use super::entry::{ChunkEntry, decode_entries, encode_entries};
use super::fields::Fields;

const MAGIC: &[u8; 8] = b"ENVOLPCK";
/// Length of the index, magic.
pub const FOOTER_LEN: usize = 4 + 8;
const INDEX_LABEL: &str = "envol/v1/pack-index ";

pub(super) fn object_name(origin: &SnapshotId, number: u32) -> String {
    format!("packs/{origin}/{number:08}")
}

/// The last part of a pack's name.
pub fn parse_number(name: &str) -> Option<u32> {
    let digits = name.len() >= 8 && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten()
}

/// Index and footer.
pub fn encode_tail(
    origin: &SnapshotId,
    number: u32,
    entries: &[ChunkEntry],
    key: &SealingKey,
) -> Result<Vec<u8>, SnapshotError> {
    let associated = format!("{INDEX_LABEL}{}", object_name(origin, number));
    let sealed = key.seal(associated.as_bytes(), &encode_entries(entries.iter()));
    let mut tail = sealed.map_err(|error| SnapshotError::host("make random bytes", error))?;
    let len = tail.len();
    super::fields::put_len(&mut tail, len);
    tail.extend_from_slice(MAGIC);
    Ok(tail)
}

/// How long index and footer are, from the footer. `None`: no pack ends like that.
pub fn tail_len(footer: &[u8]) -> Option<usize> {
    let mut fields = Fields(footer);
    let len = fields.len()?;
    (fields.array().as_ref() == Some(MAGIC) && fields.is_at_end()).then_some(len.checked_add(FOOTER_LEN)?)
}

/// `None`: it was not sealed with this key for this pack.
pub fn decode_tail(origin: &SnapshotId, number: u32, tail: &[u8], key: &SealingKey) -> Option<Vec<ChunkEntry>> {
    let (sealed, _) = tail.split_at_checked(tail.len().checked_sub(FOOTER_LEN)?)?;
    let associated = format!("{INDEX_LABEL}{}", object_name(origin, number));
    let entries = decode_entries(&key.open(associated.as_bytes(), sealed)?)?;
    let here = entries.iter().all(|entry| *entry.at.origin == *origin && entry.at.pack == number);
    here.then_some(entries)
}
