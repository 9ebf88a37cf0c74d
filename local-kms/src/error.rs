//! What an operation refuses, in AWS's words.

use std::io;

use crate::state::StateError;

/// One variant a reason; [`KmsError::code`] is what clients decide by, `Display` the message AWS sends with it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KmsError {
    #[error("Key '{arn}' does not exist")]
    KeyNotFound { arn: String },
    #[error("Invalid keyId '{0}'")]
    InvalidKeyId(String),
    #[error("Invalid arn {0}")]
    InvalidArn(String),
    #[error("Alias {arn} is not found.")]
    AliasNotFound { arn: String },
    #[error("{arn} is disabled.")]
    Disabled { arn: String },
    #[error("{arn} is pending deletion.")]
    PendingDeletion { arn: String },
    #[error("{arn} is pending import.")]
    PendingImport { arn: String },
    #[error("{arn} is not pending deletion.")]
    NotPendingDeletion { arn: String },
    #[error("The key ID in the request does not identify a CMK that can perform this operation.")]
    IncorrectKey,
    #[error("")]
    InvalidCiphertext,
    #[error(
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you \
         are not allowed to access."
    )]
    CiphertextNotAccessible,
    #[error("User: {caller} is not authorized to perform: {action} on resource: {resource} {reason}")]
    AccessDenied { caller: String, action: String, resource: String, reason: String },
    #[error("{0}")]
    MalformedPolicy(String),
    #[error("{algorithm} is not supported by key {arn} with key spec SYMMETRIC_DEFAULT.")]
    InvalidKeyUsage { arn: String, algorithm: String },
    #[error("The request was rejected because the specified grant token is not valid.")]
    InvalidGrantToken,
    #[error("The request would have succeeded, but the DryRun option is set.")]
    DryRun,
    #[error("An alias with the name {arn} already exists")]
    AliasExists { arn: String },
    #[error("Aliases with the prefix alias/aws/ are reserved for AWS managed keys.")]
    ReservedAlias,
    #[error("The key {arn} has {limit} aliases, which is the limit.")]
    TooManyAliases { arn: String, limit: usize },
    #[error("No such policy exists: {0}")]
    PolicyNotFound(String),
    #[error("{0}")]
    InvalidState(String),
    #[error("{0}")]
    LimitExceeded(String),
    #[error("{0}")]
    Conflict(String),
    /// Where a principal is named.
    #[error("ARN {0} is invalid.")]
    InvalidPrincipal(String),
    #[error("Grant ID {0} is invalid.")]
    InvalidGrantId(String),
    #[error("Grant ID {0} is not found.")]
    GrantNotFound(String),
    #[error("{0}")]
    IncorrectKeyMaterial(&'static str),
    #[error("The import token has expired.")]
    ExpiredImportToken,
    #[error("The import token is not one for this key and wrapping key.")]
    InvalidImportToken,
    #[error("Rate exceeded")]
    Throttled,
    #[error("Could not deserialize marker")]
    InvalidMarker,
    #[error("{0}")]
    Tag(&'static str),
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Validation(String),
    /// Without a message: the parser's would quote the request, which may hold a plaintext.
    #[error("")]
    Serialization,
    #[error("")]
    UnknownOperation,
    #[error("The request was rejected because an internal exception occurred. The request can be retried.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl KmsError {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::KeyNotFound { .. }
            | Self::InvalidKeyId(_)
            | Self::InvalidArn(_)
            | Self::AliasNotFound { .. }
            | Self::GrantNotFound(_)
            | Self::PolicyNotFound(_) => "NotFoundException",
            Self::Disabled { .. } => "DisabledException",
            Self::PendingDeletion { .. }
            | Self::NotPendingDeletion { .. }
            | Self::PendingImport { .. }
            | Self::InvalidState(_) => "KMSInvalidStateException",
            Self::IncorrectKey => "IncorrectKeyException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::CiphertextNotAccessible | Self::AccessDenied { .. } => "AccessDeniedException",
            Self::MalformedPolicy(_) => "MalformedPolicyDocumentException",
            Self::LimitExceeded(_) => "LimitExceededException",
            Self::Conflict(_) => "ConflictException",
            Self::InvalidPrincipal(_) => "InvalidArnException",
            Self::InvalidGrantId(_) => "InvalidGrantIdException",
            Self::IncorrectKeyMaterial(_) => "IncorrectKeyMaterialException",
            Self::ExpiredImportToken => "ExpiredImportTokenException",
            Self::InvalidImportToken => "InvalidImportTokenException",
            Self::Throttled => "ThrottlingException",
            Self::InvalidKeyUsage { .. } => "InvalidKeyUsageException",
            Self::InvalidGrantToken => "InvalidGrantTokenException",
            Self::DryRun => "DryRunOperationException",
            Self::AliasExists { .. } => "AlreadyExistsException",
            Self::ReservedAlias => "NotAuthorizedException",
            Self::TooManyAliases { .. } => "LimitExceededException",
            Self::InvalidMarker => "InvalidMarkerException",
            Self::Tag(_) => "TagException",
            Self::Unsupported(_) => "UnsupportedOperationException",
            Self::Validation(_) => "ValidationException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::Internal(_) => "KMSInternalException",
        }
    }
}

impl From<StateError> for KmsError {
    fn from(error: StateError) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<io::Error> for KmsError {
    fn from(error: io::Error) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl From<crate::ciphertext::InvalidCiphertext> for KmsError {
    fn from(_: crate::ciphertext::InvalidCiphertext) -> Self {
        Self::InvalidCiphertext
    }
}
