//! Growing a volume that is not attached: the image first, then its header. Its file system grows when it is attached next.

use std::io;
use std::sync::Arc;

use super::changes::open_changes;
use super::error::CatalogError;
use super::header::read_header;
use super::image::open_unattached;
use super::paths::VolumePaths;
use crate::format::{Geometry, Growth, VolumeId};
use crate::secret::LockedArea;
use crate::store::Store;
use crate::volume::{ChangeMap, chunk_count};

const RESIZER: &str = "whoever runs `envol resize`";

/// What became of the size of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    pub from: Geometry,
    pub to: Geometry,
}

/// How a volume becomes `size_bytes` large; `None` where it already is.
///
/// # Errors
/// [`CatalogError::Usage`]: no volume has that size, or it would shrink.
pub fn growth_of(id: &VolumeId, from: Geometry, size_bytes: u64) -> Result<Option<Growth>, CatalogError> {
    let to = Geometry::new(size_bytes).map_err(|error| CatalogError::Usage(error.to_string()))?;
    if size_bytes < from.size_bytes() {
        return Err(CatalogError::Usage(format!(
            "volume {id} has {} bytes, and a volume does not shrink: what lies behind the new end would be lost. Create a new volume of \
             {size_bytes} bytes, and dump and restore the database into it",
            from.size_bytes()
        )));
    }
    Ok(from.grown_to(to))
}

/// `kms_profile`: whose credentials unwrap the volume key, which proves the header and makes the new one; without, the caller's.
///
/// # Errors
/// Nothing was changed, or the volume has its old size or the new one; the same call goes on.
pub fn resize(
    paths: &VolumePaths,
    size_bytes: u64,
    kms_profile: Option<&str>,
    warn: impl FnOnce(&str),
) -> Result<Resized, CatalogError> {
    let id = paths.id();
    let store: Arc<dyn Store> = Arc::new(open_unattached(paths)?);
    let header = read_header(&*store, paths)?;
    if let Some(until) = header.recoverable_until() {
        return Err(CatalogError::Recoverable { id: id.clone(), until });
    }
    // Unproven, and good enough to refuse by.
    let from = header.geometry();
    if growth_of(id, from, size_bytes)?.is_none() {
        return Ok(Resized { from, to: from });
    }
    let volume_key = header.unwrap(&LockedArea::new()?, kms_profile, RESIZER)?;
    let mut header = header.unlock(volume_key.header_mac_key()?, Arc::clone(&store), warn)?;
    drop(volume_key);
    let from = header.geometry();
    let Some(growth) = growth_of(id, from, size_bytes)? else {
        return Ok(Resized { from, to: from });
    };
    extend_image(&*store, paths, growth)?;
    let known = header.superblock().sequence;
    let changes = reserve(paths, growth, known);
    header.grow(growth).map_err(CatalogError::io("write the header in", &paths.backing()))?;
    let followed = changes.and_then(|changes| {
        changes.grow(chunk_count(growth.to()), header.superblock().sequence)?;
        changes.close()
    });
    if let Err(error) = followed {
        tracing::warn!("the next snapshot of volume {id} will read all of it: {error}");
    }
    Ok(Resized { from, to: growth.to() })
}

/// Step 1, before the header says anything: the image is long enough, and the maps of new regions are empty. Durable on return.
pub fn extend_image(store: &dyn Store, paths: &VolumePaths, growth: Growth) -> Result<(), CatalogError> {
    let maps: Vec<_> = growth.map_ranges().collect();
    Ok(store.grow(&paths.backing(), growth.to().image_len_bytes(), &maps)?)
}

/// The changes that are known stay known.
fn reserve(paths: &VolumePaths, growth: Growth, header_sequence: u64) -> io::Result<ChangeMap> {
    let changes = open_changes(paths, growth.from(), header_sequence)?;
    changes.reserve(chunk_count(growth.to()))?;
    Ok(changes)
}
