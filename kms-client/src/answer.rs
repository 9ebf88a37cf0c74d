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
    /// KMS did not accept who is asking (bad signature, unknown or expired credentials, skewed clock), or there was
    /// nobody to ask as: no such profile, no credentials, no region.
    Unauthenticated,
    /// KMS answered with a code that is none of the above, e.g. `ValidationException`, or `LimitExceededException`,
    /// which is a quota of grants or rotations and not a rate.
    Other,
    /// Nobody answered for the key: throttled, timed out, DNS, TLS, 5xx, `KeyUnavailableException`, not AWS at all.
    Unreachable,
}

impl Answer {
    /// Names the answer with this AWS error code. A fault of the server (5xx) or a rate limit (429) says nothing about
    /// the key, whatever code stands beside it.
    pub(crate) fn of(code: &str, http_status: u16) -> Self {
        if http_status >= 500 || http_status == 429 {
            return Self::Unreachable;
        }
        match code {
            "DisabledException" => Self::Disabled,
            "KMSInvalidStateException" => Self::InvalidState,
            "AccessDeniedException" => Self::AccessDenied,
            "NotFoundException" => Self::NotFound,
            "IncorrectKeyException" | "InvalidCiphertextException" => Self::WrongCiphertext,
            "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "RequestExpired" => Self::Unauthenticated,
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException"
            | "SlowDown"
            | "RequestTimeout"
            | "RequestTimeoutException"
            | "KeyUnavailableException"
            | "DependencyTimeoutException"
            | "KMSInternalException"
            | "InternalFailure"
            | "InternalError"
            | "InternalServerError"
            | "ServiceUnavailable"
            | "ServiceUnavailableException" => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

/// One failed call: which operation, what kind of answer, and AWS's own words.
#[derive(Clone, Debug, thiserror::Error)]
pub struct KmsError {
    /// The name AWS gives the operation, or `login` when it never came to one.
    pub operation: &'static str,
    pub answer: Answer,
    /// The AWS error code, when there was an answer.
    pub code: Option<String>,
    /// AWS's message, or what went wrong on the way. Never key material.
    pub message: String,
    pub request_id: Option<String>,
}

impl KmsError {
    /// There is no such grant: never was, is not known yet, or not any more.
    pub fn is_no_such_grant(&self) -> bool {
        self.answer == Answer::NotFound
            || matches!(self.code.as_deref(), Some("InvalidGrantIdException" | "InvalidGrantTokenException"))
    }

    pub(crate) fn refuses_token(&self) -> bool {
        self.answer == Answer::Other && self.code.as_deref() == Some("InvalidGrantTokenException")
    }
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
