//! How long a call to KMS may take.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

/// How long to wait for KMS, and how often to ask again. Holds for each call, and for the login as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub connect: Duration,
    /// One attempt, from the first byte sent to the last byte read.
    pub attempt: Duration,
    /// All attempts together, with the pauses between them.
    pub total: Duration,
    pub max_attempts: u32,
}

impl Patience {
    /// A person waits at a prompt: long enough for a login that refreshes a token, short enough not to look hung.
    pub const INTERACTIVE: Self = Self {
        connect: Duration::from_secs(3),
        attempt: Duration::from_secs(5),
        total: Duration::from_secs(15),
        max_attempts: 3,
    };

    /// A probe of the key: the answer must come before the next probe is due (10 s by default), and whoever asks
    /// does the repeating.
    pub const PROBE: Self = Self {
        connect: Duration::from_secs(2),
        attempt: Duration::from_secs(3),
        total: Duration::from_secs(8),
        max_attempts: 2,
    };

    pub(super) fn timeouts(&self) -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(self.connect)
            .read_timeout(self.attempt)
            .operation_attempt_timeout(self.attempt)
            .operation_timeout(self.total)
            .build()
    }

    pub(super) fn retries(&self) -> RetryConfig {
        // The SDK's own pauses (1 s, doubling to 20 s) would eat the whole of `total`.
        RetryConfig::standard()
            .with_max_attempts(self.max_attempts)
            .with_initial_backoff(Duration::from_millis(200))
            .with_max_backoff(Duration::from_secs(1))
    }
}
