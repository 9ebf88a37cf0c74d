//! Why something could not be done to a volume, told apart by what the caller can do about it.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use kms_client::KmsError;

use crate::format::VolumeId;
use crate::host::HostError;
use crate::secret::{SecretError, UnwrapError};
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// What was asked makes no sense as it stands. Nothing was changed.
    #[error("{0}")]
    Usage(String),

    #[error("there is no volume {id} in {}; `envol list` shows those that are", .root.display())]
    NoSuchVolume { id: VolumeId, root: std::path::PathBuf },

    /// Somebody else holds it; nothing was changed.
    #[error("{0}")]
    Busy(String),

    #[error("{0}")]
    Kms(#[from] KmsError),

    #[error(
        "volume {id} is terminal since {at}: {cause} ({detail}). It stays so when the key comes back: enable the key, \
         create a new volume, and restore the database from a backup"
    )]
    Terminal { id: VolumeId, cause: String, detail: String, at: Timestamp },

    /// The header, or something else that must be this volume's, is damaged or another's.
    #[error("volume {id}: {problem}. Nothing was served and nothing was written")]
    NotOurs { id: VolumeId, problem: String },

    #[error("the key of volume {id} could not be unwrapped: {source}")]
    Unwrap { id: VolumeId, source: UnwrapError },

    #[error(transparent)]
    Secret(#[from] SecretError),

    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(transparent)]
    Host(#[from] HostError),

    #[error("cannot {action}: {source}")]
    Io { action: String, source: io::Error },
}

impl CatalogError {
    pub fn io(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let action = format!("{verb} {}", path.display());
        move |source| Self::Io { action, source }
    }
}
