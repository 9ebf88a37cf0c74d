//! Point-in-time copies: sealed chunks in packs, and a sealed manifest, in an object store.
//!
//! `docs/snapshot-format.md` has every byte. What is read from a store is unproven until a key has opened it.

mod attempt;
mod bandwidth;
mod commit;
mod copy;
mod copy_before_write;
pub mod entry;
mod error;
mod fields;
mod header;
mod listing;
mod location;
mod manifest;
mod marker;
mod open_leaf;
pub mod pack;
mod pack_set;
mod prune;
mod reader;
mod removal;
pub mod root;
mod runs;
mod s3;
mod seal;
mod spill;
mod store;
mod take;
mod upload;
mod writer;

#[cfg(test)]
mod tests;

use crate::volume::CHUNK_SIZE;

pub use copy::{copy, reseal, verify};
pub use entry::{ChunkEntry, ContentHash};
pub use error::SnapshotError;
pub use header::{HeaderDraft, SnapshotHeader, SnapshotKind};
pub use listing::Listing;
pub use location::StoreLocation;
pub use manifest::MAX_HEADER_LEN;
pub use marker::{UploadMarker, Uploader};
pub use pack_set::{NoPackSet, PackSet};
pub use prune::KeepRules;
pub use reader::{ChunkVisit, SnapshotReader};
pub use removal::Freed;
pub use s3::{S3Access, S3CredentialSource, S3Credentials};
pub use seal::decompress;
pub use store::SnapshotStore;
pub use take::{Taking, TakingProgress};
pub use upload::Progress;
pub use writer::{SnapshotWriter, UploadOptions};

/// The only version there is.
pub const FORMAT_VERSION: u32 = 1;

/// Chunks of one leaf: 512 MiB.
const CHUNKS_PER_LEAF: usize = 1024;
