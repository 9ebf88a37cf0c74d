//! The marker of an upload that is not committed yet: what it needs to be taken up again, and what must not go meanwhile.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::format::SnapshotId;

use super::{HeaderDraft, PackSet, SnapshotError, SnapshotHeader, SnapshotStore};

/// Who uploads, in terms that the caller alone understands: it says whether an uploader still lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploader {
    pub boot_id: String,
    /// A process for ever: its pid and when it started.
    pub process: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadMarker {
    /// With the wrapped key, so that whoever takes it up can open what was stored.
    pub draft: HeaderDraft,
    pub base_snapshot_id: Option<SnapshotId>,
    /// What the base refers to: it stays while this upload lives, even when the base is deleted.
    pub base_packs: PackSet,
    pub started_at: Timestamp,
    /// How many began before this one.
    #[serde(default)]
    pub earlier_attempts: u32,
    /// When it last stored something.
    pub renewed_at: Timestamp,
    pub uploader: Uploader,
}

impl UploadMarker {
    /// Where nobody can look whether the process lives, this counts: on another host, or before another boot.
    const FRESH_FOR: SignedDuration = SignedDuration::from_hours(24);

    pub fn snapshot_id(&self) -> &SnapshotId {
        &self.draft.snapshot_id
    }

    pub fn is_fresh(&self, now: Timestamp) -> bool {
        now.duration_since(self.renewed_at) < Self::FRESH_FOR
    }
}

pub(super) fn object_name(id: &SnapshotId) -> String {
    format!("uploads/{id}")
}

/// Says that `draft` is being made from `base`: whoever deletes the base from now on leaves its packs. So the base has to
/// be there still, as it was read.
pub(super) fn put(
    store: &SnapshotStore,
    draft: &HeaderDraft,
    base: Option<&SnapshotHeader>,
    uploader: Uploader,
) -> Result<UploadMarker, SnapshotError> {
    let now = Timestamp::now();
    let earlier = store.marker(&draft.snapshot_id)?;
    let marker = UploadMarker {
        draft: draft.clone(),
        base_snapshot_id: base.map(|base| base.id().clone()),
        base_packs: base.map(|base| base.packs.clone()).unwrap_or_default(),
        started_at: earlier.as_ref().map_or(now, |earlier| earlier.started_at),
        earlier_attempts: earlier.map_or(0, |earlier| earlier.earlier_attempts.saturating_add(1)),
        renewed_at: now,
        uploader,
    };
    let bytes = serde_json::to_vec(&marker).expect("a marker is plain JSON");
    store.overwrite(&object_name(&draft.snapshot_id), bytes)?;
    if let Some(base) = base
        && store.header(base.id())? != *base
    {
        return Err(SnapshotError::damaged(base.id(), "its manifest", "it was exchanged while it was read"));
    }
    Ok(marker)
}
