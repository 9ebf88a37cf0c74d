//! What a command asks for when it asks for a snapshot.

use std::num::NonZeroU64;

use kms_client::{KmsKeyArn, WrappedKey};
use serde::{Deserialize, Serialize};

use crate::format::SnapshotId;
use crate::snapshot::{S3Credentials, Uploader};

/// What a command asks for. The key is wrapped with the credentials of whoever runs it; the daemon unwraps it with its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotOrder {
    pub snapshot_id: SnapshotId,
    pub kms_key: KmsKeyArn,
    pub wrapped_key: WrappedKey,
    /// The command: as long as it lives, the upload is somebody's.
    pub uploader: Uploader,
    pub store: String,
    pub s3: Option<S3Order>,
    pub bandwidth_bytes_per_s: Option<NonZeroU64>,
    pub compress: bool,
    pub freeze: bool,
    pub spill_limit_bytes: u64,
}

/// Of the command's own login, since it is its user who may write to the store. `Debug` shows nothing secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct S3Order {
    pub region: String,
    pub endpoint: Option<String>,
    pub credentials: S3Credentials,
}

impl std::fmt::Debug for S3Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Order({} at {:?})", self.region, self.endpoint)
    }
}
