//! Whose credentials, from which profile, for which region.

use std::env;

use aws_config::profile::{self, ProfileFileCredentialsProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::os_shim_internal::{Env, Fs};

use super::failure::chain;
use super::patience::Patience;
use crate::answer::{Answer, KmsError};

/// Under this name the SDK logs where it looked for credentials and a region: each place in vain is a warning, beside the error that says so.
pub const LOGIN_LOG_TARGET: &str = "aws_config";

/// Whose credentials, and where. `None` means what the AWS variables and the default profile say.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// Its credentials and no others: neither the AWS variables nor a machine's role stand in for it.
    pub profile: Option<String>,
    /// Wins over profile and environment: a key's ARN knows its region.
    pub region: Option<String>,
}

impl Login {
    /// The profile somebody asked for by name, here or in `AWS_PROFILE`.
    pub(super) fn named_profile(&self) -> Option<String> {
        let from_environment = || env::var("AWS_PROFILE").ok().filter(|name| !name.is_empty());
        self.profile.clone().or_else(from_environment)
    }

    /// Everything the AWS variables and profiles say, and where credentials will come from. Loads no credentials.
    pub(super) async fn resolve(
        &self,
        patience: Patience,
    ) -> Result<(SdkConfig, Region, SharedCredentialsProvider), KmsError> {
        if let Some(name) = self.named_profile() {
            require_profile(&name).await?;
        }
        let mut loader = aws_config::defaults(behavior_version())
            .timeout_config(patience.timeouts())
            .retry_config(patience.retries());
        if let Some(name) = &self.profile {
            loader = loader.profile_name(name);
        }
        if let Some(region) = &self.region {
            loader = loader.region(Region::new(region.clone()));
        }
        let sdk = loader.load().await;
        let region = sdk.region().cloned().ok_or_else(|| {
            let named = self.named_profile().unwrap_or_else(|| "default".to_owned());
            failed(format!(
                "no region: set AWS_REGION, or `region` in the profile `{named}` ({}), or name the key by its ARN",
                files()
            ))
        })?;
        let credentials = match &self.profile {
            Some(name) => SharedCredentialsProvider::new(profile_credentials(name, &region, patience)),
            None => sdk.credentials_provider().ok_or_else(|| failed("no credentials".to_owned()))?,
        };
        Ok((sdk, region, credentials))
    }

    /// Credentials, or an error that says where they were looked for.
    pub(super) async fn load(&self, source: &SharedCredentialsProvider) -> Result<Credentials, KmsError> {
        source.provide_credentials().await.map_err(|error| {
            let cause = match &error {
                // Names what was looked at, which the sentence before has done.
                CredentialsError::CredentialsNotLoaded(_) => String::new(),
                error => format!(": {}", chain(error)),
            };
            failed(format!("no credentials {}{cause}", self.sources()))
        })
    }

    /// Where credentials come from, to end "no credentials" with.
    pub(super) fn sources(&self) -> String {
        match self.named_profile() {
            Some(name) => format!("in profile `{name}` ({})", files()),
            None => format!(
                "in the AWS variables, the default profile ({}), a web identity, ECS or EC2; set AWS_PROFILE, or log in \
                 with `aws configure`, `aws sso login` or `aws login`",
                files()
            ),
        }
    }
}

pub(super) fn failed(message: String) -> KmsError {
    KmsError { operation: "login", answer: Answer::Unauthenticated, code: None, message, request_id: None }
}

/// Pinned, so that an update of the SDK never changes time-outs or retries behind our back.
fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// The SDK passes over a profile that is not there and may end up with the machine's own role; the AWS CLI refuses, and
/// so do we.
async fn require_profile(name: &str) -> Result<(), KmsError> {
    let profiles = profile::load(&Fs::real(), &Env::real(), &Default::default(), None)
        .await
        .map_err(|error| failed(format!("cannot read the AWS profiles: {}", chain(&error))))?;
    match profiles.get_profile(name) {
        Some(_) => Ok(()),
        None => Err(failed(format!("there is no profile `{name}` in {}", files()))),
    }
}

fn profile_credentials(name: &str, region: &Region, patience: Patience) -> ProfileFileCredentialsProvider {
    let provider_config = ProviderConfig::without_region()
        .with_region(Some(region.clone()))
        .with_behavior_version(Some(behavior_version()))
        .with_timeout_config(patience.timeouts())
        .with_retry_config(patience.retries());
    ProfileFileCredentialsProvider::builder().configure(&provider_config).profile_name(name).build()
}

/// The two profile files, as the AWS tools find them.
fn files() -> String {
    let path = |variable, default: &str| env::var(variable).unwrap_or_else(|_| default.to_owned());
    format!(
        "{} and {}",
        path("AWS_CONFIG_FILE", "~/.aws/config"),
        path("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    )
}
