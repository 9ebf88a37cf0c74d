//! A snapshot under another key, in another store, or both. What was sealed stays as it is, under the keys that it has:
//! only the manifest that holds those keys is sealed anew.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::secret::SealingKey;

use super::{
    ChunkEntry, HeaderDraft, Progress, SnapshotError, SnapshotHeader, SnapshotReader, SnapshotStore, SnapshotWriter,
    UploadOptions, commit, marker,
};

const ALL: Range<u64> = 0..u64::MAX;

/// Reads and authenticates every chunk; `progress` is told the plaintext of each, from several threads.
///
/// # Errors
/// The first thing that is wrong, by name.
pub fn verify(
    reader: &SnapshotReader,
    progress: &(dyn Fn(u64) + Sync),
    cancelled: &AtomicBool,
) -> Result<(), SnapshotError> {
    let visit = |_, _, data: &[u8]| {
        progress(data.len() as u64);
        Ok(())
    };
    reader.read_leaves(ALL, &visit, cancelled)?;
    let (header, full_bytes) = (reader.header(), reader.leaves().iter().map(|leaf| leaf.data_bytes).sum::<u64>());
    if header.packs != commit::packs_of(reader.leaves()) || header.full_bytes != full_bytes {
        return Err(SnapshotError::damaged(header.id(), "its manifest", "header and root do not go together"));
    }
    Ok(())
}

/// Into another store, or the same. Every chunk is authenticated on its way. Interrupted, a repeat with the same draft
/// goes on where it was.
///
/// # Errors
/// As [`SnapshotWriter::begin`]; and what is wrong with the source.
pub fn copy(
    source: &SnapshotReader,
    draft: HeaderDraft,
    key: SealingKey,
    to: Arc<SnapshotStore>,
    base: Option<SnapshotReader>,
    options: UploadOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<SnapshotHeader, SnapshotError> {
    check_lineage(source, &draft)?;
    let cancelled = Arc::clone(&options.cancelled);
    let from_base = base.is_some();
    let writer = SnapshotWriter::begin(to, draft, key, base, options)?;
    if from_base {
        writer.drop_what_is_not_in(source)?;
    }
    let take_over = |entry: &ChunkEntry, sealed: &[u8], _: &[u8]| {
        if writer.known(entry.chunk)? == Some(entry.hash) {
            writer.keep(entry.chunk)?;
        } else {
            writer.put_sealed(entry, sealed)?;
        }
        progress(writer.progress());
        Ok(())
    };
    for leaf in source.leaf_numbers() {
        source.visit_sealed(leaf..leaf + 1, &take_over, &cancelled)?;
        writer.close_leaf(leaf)?;
    }
    writer.finish()
}

/// In the same store: no chunk moves, only a manifest is written.
///
/// # Errors
/// As [`SnapshotWriter::begin`]; [`SnapshotError::NoSuchSnapshot`]: the source was deleted meanwhile.
#[expect(clippy::needless_pass_by_value, reason = "the key is wiped once it has sealed")]
pub fn reseal(
    source: &SnapshotReader,
    draft: HeaderDraft,
    key: SealingKey,
    options: UploadOptions,
) -> Result<SnapshotHeader, SnapshotError> {
    check_lineage(source, &draft)?;
    let store = source.store();
    commit::refuse_committed(store, &draft.snapshot_id)?;
    marker::put(store, &draft, Some(source.header()), options.uploader)?;
    let header = SnapshotHeader {
        base_snapshot_id: None,
        full_bytes: source.header().full_bytes,
        incremental_bytes: 0,
        stored_bytes: 0,
        packs: commit::packs_of(source.leaves()),
        draft,
    };
    commit::commit(store, &header, source.leaves(), &key)?;
    Ok(header)
}

/// What is sealed is bound to the volume that it came from.
fn check_lineage(source: &SnapshotReader, draft: &HeaderDraft) -> Result<(), SnapshotError> {
    let of = &source.header().draft;
    let same =
        of.volume_id == draft.volume_id && of.size_bytes == draft.size_bytes && of.created_at == draft.created_at;
    if same { Ok(()) } else { Err(SnapshotError::Refused("a copy is of the same volume at the same time".to_owned())) }
}
