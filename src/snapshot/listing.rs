//! What is in a store: committed snapshots by their headers, and uploads that are not committed yet.

use futures_util::StreamExt;
use object_store::ObjectStore;

use crate::format::SnapshotId;

use super::store::read_range;
use super::{SnapshotError, SnapshotHeader, SnapshotStore, UploadMarker, manifest, marker};

/// The committed snapshots of a store, and those whose manifest cannot be read.
#[derive(Debug, Default)]
pub struct Listing {
    /// Oldest first.
    pub headers: Vec<SnapshotHeader>,
    pub unreadable: Vec<SnapshotError>,
}

/// Most headers are whole in this; the rest of a manifest is not for whoever lists.
const FIRST_READ: u64 = 16 * 1024;
const AT_A_TIME: usize = 8;

impl SnapshotStore {
    /// # Errors
    /// The store cannot be listed. What is wrong with one snapshot is in the listing.
    pub fn headers(&self) -> Result<Listing, SnapshotError> {
        let ids = self.ids("snapshots")?;
        let reads = futures_util::stream::iter(ids.iter().map(|id| read_header(&*self.objects, id)));
        let results: Vec<_> = self.block_on(reads.buffered(AT_A_TIME).collect());
        let mut listing = Listing::default();
        for result in results {
            match result {
                Ok(header) => listing.headers.push(header),
                // Deleted between listing and reading.
                Err(SnapshotError::NoSuchSnapshot(_)) => {}
                Err(error) => listing.unreadable.push(error),
            }
        }
        listing
            .headers
            .sort_by(|one, other| (one.draft.created_at, one.id()).cmp(&(other.draft.created_at, other.id())));
        Ok(listing)
    }

    /// Not proven: only a key can.
    ///
    /// # Errors
    /// [`SnapshotError::NoSuchSnapshot`], [`SnapshotError::Damaged`], or the store.
    pub fn header(&self, id: &SnapshotId) -> Result<SnapshotHeader, SnapshotError> {
        self.block_on(read_header(&*self.objects, id))
    }

    /// An upload that is `wanted` and that nobody continues any more, the newest if there are several.
    ///
    /// # Errors
    /// The store, or a marker that makes no sense.
    pub fn interrupted(
        &self,
        wanted: &dyn Fn(&UploadMarker) -> bool,
        live: &dyn Fn(&UploadMarker) -> bool,
    ) -> Result<Option<UploadMarker>, SnapshotError> {
        let mut found: Vec<UploadMarker> = Vec::new();
        for id in self.ids("uploads")? {
            let Some(marker) = self.marker(&id)? else { continue };
            let committed = || self.size(&manifest::object_name(&id)).map(|size| size.is_some());
            if wanted(&marker) && !live(&marker) && !committed()? {
                found.push(marker);
            }
        }
        Ok(found.into_iter().max_by_key(|marker| marker.renewed_at))
    }

    pub(super) fn marker(&self, id: &SnapshotId) -> Result<Option<UploadMarker>, SnapshotError> {
        let name = marker::object_name(id);
        let Some(bytes) = self.read(&name)? else { return Ok(None) };
        let marker: UploadMarker =
            serde_json::from_slice(&bytes).map_err(|error| SnapshotError::damaged(id, &name, error.to_string()))?;
        if marker.snapshot_id() != id {
            return Err(SnapshotError::damaged(id, &name, format!("it is the marker of {}", marker.snapshot_id())));
        }
        Ok(Some(marker))
    }

    pub(super) fn markers(&self) -> Result<Vec<UploadMarker>, SnapshotError> {
        let ids = self.ids("uploads")?;
        ids.iter().filter_map(|id| self.marker(id).transpose()).collect()
    }

    /// Of the objects right below `folder`; others have no business there, and are passed over.
    fn ids(&self, folder: &str) -> Result<Vec<SnapshotId>, SnapshotError> {
        let objects = self.list(folder)?;
        Ok(objects.iter().filter_map(|object| object.location.filename()?.parse().ok()).collect())
    }
}

async fn read_header(objects: &dyn ObjectStore, id: &SnapshotId) -> Result<SnapshotHeader, SnapshotError> {
    let name = manifest::object_name(id);
    let read = async |end: u64| {
        let start = read_range(objects, &name, 0..end).await?;
        start.ok_or_else(|| SnapshotError::NoSuchSnapshot(id.clone()))
    };
    let start = read(FIRST_READ).await?;
    let end = manifest::header_end(id, &start)?;
    if end <= start.len() {
        return manifest::decode_header(id, &start);
    }
    manifest::decode_header(id, &read(end as u64).await?)
}
