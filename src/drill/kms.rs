//! The KMS, as whoever runs the drill: each call waits for its answer.

use std::future::Future;

use kms_client::{AwsKms, CallLog, KmsError, Login, Patience};
use tokio::runtime::Runtime;

use super::error::DrillError;

pub(super) struct DrillKms {
    runtime: Runtime,
    pub(super) client: AwsKms,
}

impl DrillKms {
    pub(super) fn connect(region: Option<&str>, log: &CallLog) -> Result<Self, DrillError> {
        let runtime = runtime()?;
        let login = Login { profile: None, region: region.map(str::to_owned) };
        let client = runtime.block_on(AwsKms::connect_recorded(&login, Patience::INTERACTIVE, Some(log)))?;
        Ok(Self { runtime, client })
    }

    pub(super) fn wait<T>(&self, call: impl Future<Output = Result<T, KmsError>>) -> Result<T, KmsError> {
        self.runtime.block_on(call)
    }

    /// The ARN behind a profile, or why it is not known.
    pub(super) fn arn_of(&self, profile: Option<&str>, log: &CallLog) -> Result<String, KmsError> {
        let Some(profile) = profile else { return self.wait(self.client.caller_arn()) };
        let login = Login { profile: Some(profile.to_owned()), region: None };
        self.wait(async {
            AwsKms::connect_recorded(&login, Patience::INTERACTIVE, Some(log)).await?.caller_arn().await
        })
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

/// Its one worker hears signals while this thread waits for something else.
fn runtime() -> Result<Runtime, DrillError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|source| DrillError::Io { action: "start the asynchronous runtime".to_owned(), source })
}
