//! Why an administrator's request was not done.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::KmsError;
use crate::kms::OpenError;

/// Told apart by what the caller can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The request makes no sense as it stands.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NotFound(String),
    #[error("the KMS in {} is not being served, and this is about a running server; start it with `envol kms serve`", dir.display())]
    NotServing { dir: PathBuf },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the server did not answer: {0}")]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Failed(String),
}

/// The same, through the socket.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "message", rename_all = "kebab-case")]
pub(super) enum ErrorText {
    Usage(String),
    NotFound(String),
    Failed(String),
}

impl From<AdminError> for ErrorText {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Usage(message) => Self::Usage(message),
            AdminError::NotFound(message) => Self::NotFound(message),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<ErrorText> for AdminError {
    fn from(text: ErrorText) -> Self {
        match text {
            ErrorText::Usage(message) => Self::Usage(message),
            ErrorText::NotFound(message) => Self::NotFound(message),
            ErrorText::Failed(message) => Self::Failed(message),
        }
    }
}

impl From<KmsError> for AdminError {
    fn from(error: KmsError) -> Self {
        match error.code() {
            "NotFoundException" => Self::NotFound(error.to_string()),
            _ => Self::Failed(format!("{}: {error}", error.code())),
        }
    }
}
