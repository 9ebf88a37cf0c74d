//! A refusal or a silence of KMS, told apart by the error code it came with.
//!
//! AWS leaves AccessDenied and Throttling out of the service model, so the SDK's error variants cannot be trusted to
//! tell answers apart; the code can (<https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html>).

use std::fmt;

/// What kind of "no" it was. What it means for a volume is the business of whoever asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `DisabledException`.
    Disabled,
    /// `KMSInvalidStateException`: only `DescribeKey` can tell which state.
    InvalidState,
    /// `AccessDeniedException`.
    AccessDenied,
    /// `NotFoundException`.
    NotFound,
    /// `IncorrectKeyException`, `InvalidCiphertextException`: this wrapped key is not of this key and context.
    WrongCiphertext,
    /// KMS did not accept who is asking: bad signature, unknown or expired credentials, skewed clock, none at all.
    Unauthenticated,
    /// KMS answered with a code that is none of the above, e.g. `ValidationException`.
    Other,
    /// Nobody answered for the key: throttled, timed out, DNS, TLS, 5xx, `KeyUnavailableException`, not AWS at all.
    Unreachable,
}

/// One failed call: which operation, what kind of answer, and AWS's own words.
#[derive(Clone, Debug, thiserror::Error)]
pub struct KmsError {
    pub operation: &'static str,
    pub answer: Answer,
    /// The AWS error code, when there was an answer.
    pub code: Option<String>,
    /// AWS's message, or what went wrong on the way. Never key material.
    pub message: String,
    pub request_id: Option<String>,
}

impl fmt::Display for KmsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KMS {}: ", self.operation)?;
        if let Some(code) = &self.code {
            write!(f, "{code}")?;
            if !self.message.is_empty() {
                write!(f, ": ")?;
            }
        }
        write!(f, "{}", self.message)?;
        if let Some(id) = &self.request_id {
            write!(f, " (request {id})")?;
        }
        Ok(())
    }
}
