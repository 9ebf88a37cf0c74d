//! Credentials that may take longer to load than one attempt at KMS may take.
//!
//! The SDK loads credentials inside an attempt and gives the load up with it, so a credential process or a token
//! refresh slower than [`super::Patience::attempt`] would be started again and again and never be done. Here a load
//! runs in a task of its own, outlives the attempt that asked for it, and serves the next.

use std::fmt;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(super) struct PatientCredentials {
    source: SharedCredentialsProvider,
    /// The load under way, or done and not yet fetched.
    load: Mutex<Option<JoinHandle<Result>>>,
    /// How long one attempt waits for it. Less than the attempt itself, so that the error says what was missing.
    wait: Duration,
}

impl PatientCredentials {
    /// `first` is what the source gave at login, and what the first call is answered with.
    pub(super) fn new(source: SharedCredentialsProvider, first: Credentials, attempt: Duration) -> Self {
        Self { source, load: Mutex::new(Some(tokio::spawn(async { Ok(first) }))), wait: attempt.mul_f32(0.9) }
    }

    async fn provide(&self) -> Result {
        let mut load = self.load.lock().await;
        let running = load.get_or_insert_with(|| {
            let source = self.source.clone();
            tokio::spawn(async move { source.provide_credentials().await })
        });
        match timeout(self.wait, running).await {
            Ok(done) => {
                *load = None;
                done.unwrap_or_else(|stopped| Err(CredentialsError::unhandled(stopped)))
            }
            Err(_) => self
                .fallback_on_interrupt()
                .ok_or_else(|| CredentialsError::provider_error(format!("still loading after {:?}", self.wait))),
        }
    }
}

impl ProvideCredentials for PatientCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.source.fallback_on_interrupt()
    }
}

impl fmt::Debug for PatientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PatientCredentials").field("wait", &self.wait).finish_non_exhaustive()
    }
}
