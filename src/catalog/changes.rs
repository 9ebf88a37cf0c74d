//! What is known of the changed chunks of a volume.

use std::io;

use super::paths::VolumePaths;
use crate::format::Geometry;
use crate::host;
use crate::volume::{ChangeMap, chunk_count};

/// Believed if it was closed with a header of this sequence number; else everything counts as changed.
pub fn open_changes(paths: &VolumePaths, geometry: Geometry, header_sequence: u64) -> io::Result<ChangeMap> {
    ChangeMap::open(&paths.changes(), chunk_count(geometry), header_sequence, host::boot_id()?)
}
