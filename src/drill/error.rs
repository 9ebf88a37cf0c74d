//! Why a drill did not come to its end.

use std::io;
use std::path::Path;

use kms_client::KmsError;

use crate::catalog::CatalogError;
use crate::host::HostError;

#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// Nothing was made and nothing was changed.
    #[error("{0}")]
    Refused(String),

    /// Another command of envol said no, and had this exit code.
    #[error("{message}")]
    Command { code: u8, message: String },

    #[error("{0}")]
    Kms(#[from] KmsError),

    #[error(transparent)]
    Catalog(#[from] CatalogError),

    #[error(transparent)]
    Host(#[from] HostError),

    #[error("{0}")]
    Failed(String),

    #[error("interrupted")]
    Interrupted,

    #[error("cannot {action}: {source}")]
    Io { action: String, source: io::Error },

    /// What the drill changed is not all changed back, besides what else went wrong.
    #[error("{cause}. Not everything is as before: {left}. `envol drill undo` tries again")]
    NotUndone { cause: Box<DrillError>, left: String },
}

impl DrillError {
    pub(super) fn io(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let action = format!("{verb} {}", path.display());
        move |source| Self::Io { action, source }
    }
}
