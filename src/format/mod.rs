//! The image file of a volume, format v1: superblock, lifecycle record and geometry, byte by byte.
//!
//! `docs/format.md` is the description; `tests/format_golden.rs` holds the two together. Nothing here does I/O, and
//! nothing here knows a key: whoever holds the MAC key lends a closure.

mod damage;
mod database_id;
mod file_system;
mod geometry;
mod header_backup;
mod headers;
pub mod layout;
mod lifecycle;
mod resource_id;
mod revocation_policy;
mod superblock;
mod unverified;

pub use damage::Damage;
pub use database_id::{DatabaseId, DatabaseName, InvalidDatabaseName};
pub use file_system::{FileSystemKind, FileSystemState, UnknownFileSystem};
pub use geometry::{
    BLOCK_SIZE, BLOCKS_PER_REGION, Geometry, Growth, HEADER_LEN, InvalidSize, MAP_LEN, MAX_REGIONS, MAX_SIZE, MIN_SIZE,
    MapBit, REGION_LEN, map_page_offset,
};
pub use header_backup::HeaderBackup;
pub use headers::{HeaderCopy, HeaderError, Headers, Repair, VerifiedHeader};
pub use lifecycle::{Cause, LIFECYCLE_BLOCK_LEN, LifecycleError, LifecycleRecord, LifecycleState};
pub use resource_id::{InvalidSnapshotId, InvalidVolumeId, SnapshotId, VolumeId};
pub use revocation_policy::RevocationPolicy;
pub use superblock::{SlotOverflow, Superblock};
pub use unverified::{NotAuthentic, UnverifiedSuperblock};

/// The only version there is. Both records carry it.
pub const FORMAT_VERSION: u32 = 1;
/// One superblock copy.
pub const SUPERBLOCK_LEN: usize = layout::superblock::LEN;
