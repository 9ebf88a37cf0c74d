//! AWS KMS through the official SDK.

use std::time::Duration;

use crate::answer::KmsError;

/// How long to wait for KMS, and how often to ask again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    /// One attempt, from the first byte sent to the last byte read.
    pub attempt: Duration,
    /// All attempts together.
    pub total: Duration,
    pub max_attempts: u32,
}

/// Whose credentials, and where. `None` means what the AWS variables and the default profile say.
#[derive(Clone, Debug, Default)]
pub struct Login {
    pub profile: Option<String>,
    /// Wins over profile and environment: a key's ARN knows its region.
    pub region: Option<String>,
}

/// A client of AWS KMS, or of any server that speaks its protocol (`AWS_ENDPOINT_URL_KMS`).
pub struct AwsKms {}

impl AwsKms {
    pub async fn connect(_login: &Login, _patience: Patience) -> Result<Self, KmsError> {
        Ok(Self {})
    }
}
