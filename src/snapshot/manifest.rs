//! The object that makes a snapshot exist: its header, readable by all, and its root, sealed together with the header.

use crate::format::SnapshotId;
use crate::secret::SealingKey;

use super::fields::Fields;
use super::root::{LeafRef, decode_root, encode_root};
use super::{FORMAT_VERSION, SnapshotError, SnapshotHeader};

const MAGIC: &[u8; 8] = b"ENVOLSNP";
/// Magic, version, length of the header.
pub(super) const PREFIX_LEN: usize = 8 + 4 + 4;
/// Far above what a header of many ranges of packs comes to.
pub const MAX_HEADER_LEN: usize = 64 << 20;

pub(super) fn object_name(id: &SnapshotId) -> String {
    format!("snapshots/{id}")
}

pub(super) fn encode(header: &SnapshotHeader, leaves: &[LeafRef], key: &SealingKey) -> Result<Vec<u8>, SnapshotError> {
    let json = serde_json::to_vec(header).expect("a header is plain JSON");
    let mut object = Vec::with_capacity(PREFIX_LEN + json.len());
    object.extend_from_slice(MAGIC);
    object.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    super::fields::put_len(&mut object, json.len());
    object.extend_from_slice(&json);
    let sealed = key.seal(&object, &encode_root(leaves));
    object.extend_from_slice(&sealed.map_err(|error| SnapshotError::host("make random bytes", error))?);
    Ok(object)
}

/// How long the header is with all that lies before it, from the first bytes of a manifest.
pub(super) fn header_end(id: &SnapshotId, start: &[u8]) -> Result<usize, SnapshotError> {
    let damaged = |problem: &str| SnapshotError::damaged(id, object_name(id), problem);
    let mut fields = Fields(start);
    if fields.array().as_ref() != Some(MAGIC) {
        return Err(damaged("it does not begin as a manifest"));
    }
    let version = fields.u32().ok_or_else(|| damaged("it is cut short"))?;
    if version > FORMAT_VERSION {
        return Err(SnapshotError::NewerFormat { snapshot: id.to_string(), version });
    }
    if version != FORMAT_VERSION {
        return Err(damaged("its format version never was"));
    }
    let len = fields.len().ok_or_else(|| damaged("it is cut short"))?;
    if len > MAX_HEADER_LEN {
        return Err(damaged("its header has no plausible length"));
    }
    Ok(PREFIX_LEN + len)
}

/// Without a key; not proven.
pub(super) fn decode_header(id: &SnapshotId, object: &[u8]) -> Result<SnapshotHeader, SnapshotError> {
    let damaged = |problem: String| SnapshotError::damaged(id, object_name(id), problem);
    let end = header_end(id, object)?;
    let json = object.get(PREFIX_LEN..end).ok_or_else(|| damaged("it is cut short".to_owned()))?;
    let header: SnapshotHeader =
        serde_json::from_slice(json).map_err(|error| damaged(format!("its header cannot be read: {error}")))?;
    if header.id() != id {
        return Err(damaged(format!("it is the manifest of {}", header.id())));
    }
    Ok(header)
}

/// Header and root, proven by the key.
pub(super) fn open(
    id: &SnapshotId,
    object: &[u8],
    key: &SealingKey,
) -> Result<(SnapshotHeader, Vec<LeafRef>), SnapshotError> {
    let damaged = |problem: &str| SnapshotError::damaged(id, object_name(id), problem);
    let header = decode_header(id, object)?;
    let (associated, sealed) = object.split_at(header_end(id, object)?);
    let root = key.open(associated, sealed).ok_or_else(|| damaged("its seal does not match its key"))?;
    let leaves = decode_root(&root).ok_or_else(|| damaged("its root makes no sense"))?;
    Ok((header, leaves))
}
