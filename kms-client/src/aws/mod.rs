//! AWS KMS through the official SDK.

mod admin;
mod body_limit;
mod calls;
mod credentials;
mod failure;
mod grants;
mod identity;
mod import;
mod login;
mod patience;
mod recorder;
mod s3;

use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::SharedInterceptor;
use aws_sdk_kms::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_kms::config::retry::RetryPartition;
use aws_sdk_kms::config::{Config, IdentityCache};
use aws_sdk_kms::error::BoxError;
use aws_types::service_config::ServiceConfigKey;
use tokio::time::timeout;

use crate::answer::KmsError;
use crate::call_log::CallLog;
use crate::grant::GrantToken;
use body_limit::BodyLimit;
use credentials::PatientCredentials;
use failure::{Parties, chain};
pub use login::{LOGIN_LOG_TARGET, Login};
pub use patience::Patience;
use recorder::CallRecorder;
pub use s3::S3Login;

/// A client of AWS KMS, or of any server that speaks its protocol (`AWS_ENDPOINT_URL_KMS`).
///
/// Logs in every way the AWS CLI does: variables, profiles, SSO, `aws login`, credential processes, web identity, ECS
/// and EC2 roles (<https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html>).
pub struct AwsKms {
    client: Client,
    /// For the one question of another service: who am I.
    sts: aws_sdk_sts::Client,
    parties: Parties,
    grant_token: Option<GrantToken>,
}

impl AwsKms {
    /// Finds region, endpoint and credentials, within `patience.total`. Sends nothing to KMS yet.
    ///
    /// # Errors
    /// [`crate::Answer::Unauthenticated`]: no such profile, no region, no credentials, or not in time.
    pub async fn connect(login: &Login, patience: Patience) -> Result<Self, KmsError> {
        Self::connect_recorded(login, patience, None).await
    }

    /// As [`AwsKms::connect`], and every request from then on is written down in `log`.
    ///
    /// # Errors
    /// As [`AwsKms::connect`].
    pub async fn connect_recorded(login: &Login, patience: Patience, log: Option<&CallLog>) -> Result<Self, KmsError> {
        timeout(patience.total, Self::log_in(login, patience, log)).await.unwrap_or_else(|_| {
            Err(login::failed(format!("no credentials within {:?} {}", patience.total, login.sources())))
        })
    }

    async fn log_in(login: &Login, patience: Patience, log: Option<&CallLog>) -> Result<Self, KmsError> {
        let (sdk, region, source) = login.resolve(patience).await?;
        let first = login.load(&source).await?;
        let configured = configured_endpoint(&sdk, "KMS");
        let endpoint = resolved_endpoint(&sdk, &region, configured.as_deref())
            .await
            .map_err(|error| login::failed(format!("no endpoint for KMS in {region}: {}", chain(&*error))))?;
        let credentials = SharedCredentialsProvider::new(PatientCredentials::new(source, first, patience.attempt));
        let mut sts = aws_sdk_sts::config::Builder::from(&sdk)
            .credentials_provider(credentials.clone())
            .region(region)
            .interceptor(BodyLimit);
        let mut config = aws_sdk_kms::config::Builder::from(&sdk)
            .credentials_provider(credentials)
            .identity_cache(IdentityCache::lazy().load_timeout(patience.total).build())
            .interceptor(BodyLimit);
        config.set_endpoint_url(configured);
        if let Some(log) = log {
            config.push_interceptor(SharedInterceptor::new(CallRecorder(log.clone())));
            sts.push_interceptor(SharedInterceptor::new(CallRecorder(log.clone())));
        }
        let parties = Parties { endpoint, profile: login.named_profile() };
        let sts = aws_sdk_sts::Client::from_conf(sts.build());
        Ok(Self { client: Client::from_conf(own_retries(config)), sts, parties, grant_token: None })
    }

    /// The same login over new connections, with nothing shared that a past failure could have left its mark on:
    /// for asking again whether a denial is one. Credentials stay cached.
    #[must_use]
    pub fn fresh_connection(&self) -> Self {
        // A client makes its own connection pool, unless its config brings one; ours never does.
        Self {
            client: Client::from_conf(own_retries(self.client.config().to_builder())),
            sts: self.sts.clone(),
            parties: self.parties.clone(),
            grant_token: self.grant_token.clone(),
        }
    }

    /// From now on `Decrypt` and `DescribeKey`, which a volume's grant allows, show this token with each call.
    #[must_use]
    pub fn under_grant(self, token: Option<GrantToken>) -> Self {
        Self { grant_token: token, ..self }
    }

    /// Where requests go, e.g. `https://kms.eu-west-1.amazonaws.com` or `http://127.0.0.1:4599`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.parties.endpoint
    }
}

/// The SDK counts retries per region and process, so that one client in trouble takes them from all; here each client
/// counts its own.
fn own_retries(config: aws_sdk_kms::config::Builder) -> Config {
    config.retry_partition(RetryPartition::custom("envol").build()).build()
}

/// `AWS_ENDPOINT_URL_SERVICE`, a profile's `services` section, `AWS_ENDPOINT_URL` or a profile's `endpoint_url`, in the
/// SDK's own order (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html>).
fn configured_endpoint(sdk: &SdkConfig, service: &str) -> Option<String> {
    let key =
        ServiceConfigKey::builder().service_id(service).env("AWS_ENDPOINT_URL").profile("endpoint_url").build().ok()?;
    sdk.service_config().and_then(|config| config.load_config(key)).or_else(|| sdk.endpoint_url().map(str::to_owned))
}

async fn resolved_endpoint(sdk: &SdkConfig, region: &Region, configured: Option<&str>) -> Result<String, BoxError> {
    let params = Params::builder()
        .region(region.as_ref())
        .set_use_fips(sdk.use_fips())
        .set_use_dual_stack(sdk.use_dual_stack())
        .set_endpoint(configured.map(str::to_owned))
        .build()?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&params).await?;
    Ok(endpoint.url().to_owned())
}
