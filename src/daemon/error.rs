//! Why a volume could not be attached, or how serving it ended.

use crate::catalog::CatalogError;
use crate::format::VolumeId;
use crate::host::HostError;
use crate::volume::VolumeError;

#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),

    #[error(transparent)]
    Host(#[from] HostError),

    #[error(transparent)]
    Volume(#[from] VolumeError),

    #[error("cannot {action}: {source}")]
    Io { action: &'static str, source: std::io::Error },

    /// Detached, but not in good order.
    #[error("volume {id} is detached, but what was not synced before is lost: {reason}")]
    Lost { id: VolumeId, reason: String },

    /// The volume is grown, and what shows it is not.
    #[error(
        "volume {id} has {size_bytes} bytes now, but its file system does not: {source}. Once that is mended, the same command \
         finishes it, and so does the next attach"
    )]
    HalfGrown { id: VolumeId, size_bytes: u64, source: Box<DaemonError> },

    /// The key was revoked while the volume was served.
    #[error("{0}")]
    BecameTerminal(String),

    /// KMS has not confirmed the key for longer than the operator allows.
    #[error("{0}")]
    Stopped(String),
}

impl DaemonError {
    /// Somebody uses what had to be taken down.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Catalog(CatalogError::Busy(_)) | Self::Host(HostError::Busy { .. }))
    }

    pub(super) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
