//! A volume becomes larger while it is served: nothing that is there moves, and no request waits for it.
//!
//! Everything that depends on the size only ever gains: keys of new regions, tables of the allocation map as they are touched, bits
//! of the change map at its end. Locks on ranges know no end. The size itself comes last.

use std::io;
use std::sync::atomic::Ordering;

use super::error::VolumeError;
use super::{BLOCKS_PER_CHUNK, Volume, VolumeKeys};
use crate::format::{Geometry, Growth};

impl Volume {
    /// How this volume would become that large; `None` where it already is.
    pub fn growth_to(&self, geometry: Geometry) -> Option<Growth> {
        self.geometry().grown_to(geometry)
    }

    /// Makes room for what the change map has to know of a larger volume. It may be done again, and come to nothing.
    ///
    /// # Errors
    /// There is no room on the disk with the change map.
    pub fn reserve(&self, growth: Growth) -> io::Result<()> {
        self.changes.as_ref().map_or(Ok(()), |changes| changes.reserve(chunk_count(growth.to())))
    }

    /// From the return on the volume is as large as `growth` says, with `keys` for its new regions. The store is long enough
    /// already, and the image's header, which now has this sequence, says so: what is written behind the old end is found again.
    ///
    /// One growth at a time, after its [`Volume::reserve`]. Panics if it does not begin at this volume's size, or the keys are not
    /// those of its new regions.
    ///
    /// # Errors
    /// [`VolumeError::Ended`]
    pub fn grow(&self, growth: Growth, keys: VolumeKeys, header_sequence: u64) -> Result<(), VolumeError> {
        assert_eq!(growth.from(), self.geometry(), "a volume grows from its size");
        assert_eq!(keys.0.len(), growth.regions().len(), "each new region has a key");
        self.state.add_keys(keys)?;
        if let Some(changes) = &self.changes
            && let Err(error) = changes.grow(chunk_count(growth.to()), header_sequence)
        {
            tracing::warn!("once the volume is attached again, its next snapshot will read all of it: {error}");
        }
        self.size_bytes.store(growth.to().size_bytes(), Ordering::Release);
        Ok(())
    }
}

/// The last one may be short.
pub fn chunk_count(geometry: Geometry) -> u64 {
    geometry.block_count().div_ceil(BLOCKS_PER_CHUNK)
}

#[cfg(test)]
mod tests;
