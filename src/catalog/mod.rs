//! The volumes under a root directory and their life. There is no database: a volume is its directory, and its
//! header is the truth.

use std::future::Future;
use std::io;

mod binding;
mod changes;
mod check;
mod create;
mod delete;
mod error;
mod grant;
mod header;
mod header_backup;
mod image;
mod last_snapshot;
mod lifecycle;
mod listing;
mod mount_record;
mod ownership;
mod paths;
mod peek;
mod record;
mod resize;
mod restoration;
mod restore;
mod rewrap;
mod snapshot_key;
mod unwrapping;
mod uploader;
mod wrapping;

pub use binding::Binding;
pub use changes::open_changes;
pub use check::{CheckReport, check};
pub use create::{CreateRequest, create};
pub use delete::delete;
pub use error::{ATTACHER, CatalogError};
pub use grant::{StandingGrant, VolumeGrant};
pub use header::{ReadHeader, UnlockedHeader, erase_keys, read_header, read_revoked, write_lifecycle};
pub use header_backup::{RestoredHeader, back_up_header, restore_header};
pub use last_snapshot::LastSnapshot;
pub use lifecycle::revocation_record;
pub use listing::{VolumeSummary, list, summarize};
pub use mount_record::MountRecord;
pub use paths::{Root, VolumePaths, sync_dir, write_durably};
pub use peek::{Peek, has_file_system, peek};
pub use resize::{Resized, extend_image, growth_of, resize};
pub use restoration::{Restoration, delete_unfinished, unfinished};
pub use restore::{RestoreProgress, restore};
pub use rewrap::{Rewrap, Rewrapped, rewrap, rewrap_in_kms};
pub use snapshot_key::{
    SHARE_PERMISSIONS, WrappedSnapshotKey, share_snapshot_key, unwrap_snapshot_key, wrap_snapshot_key,
};
pub use unwrapping::unwrap;
pub use uploader::{this_uploader, uploader_is_alive};
pub use wrapping::WrappedKeys;

/// A command waits for KMS and has nothing else to do meanwhile.
fn asynchronously<T>(work: impl Future<Output = Result<T, CatalogError>>) -> Result<T, CatalogError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let failed = |source: io::Error| CatalogError::Io { action: "start the asynchronous runtime".to_owned(), source };
    runtime.map_err(failed)?.block_on(work)
}
