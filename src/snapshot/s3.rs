//! Access to S3: how long to wait for it, and whose credentials it sees.

mod answer_limit;
mod bucket;
mod credentials;
mod failure;

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::{SnapshotError, StoreLocation};

use answer_limit::AnswerLimit;
use bucket::Bucket;
use credentials::RenewedCredentials;
pub use credentials::{S3CredentialSource, S3Credentials};

pub(super) use failure::{said, was_unanswered};

#[derive(Clone)]
pub struct S3Access {
    pub region: Option<String>,
    /// Of a server that is not AWS.
    pub endpoint: Option<String>,
    pub credentials: S3CredentialSource,
}

const CONNECT: Duration = Duration::from_secs(5);

/// Without a word from the server: it is asked for little, and a person may wait at a prompt.
const SILENCE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// A pack of 32 MiB beside two others, over a link of 1 Mbit/s. That a connection is dead is found out by the kernel, in
/// half a minute.
const UPLOAD: Duration = Duration::from_secs(900);

pub(super) fn open(
    location: &StoreLocation,
    (bucket, prefix): (&str, &str),
    access: &S3Access,
) -> Result<Arc<dyn ObjectStore>, SnapshotError> {
    let region = access.region.as_deref().unwrap_or("us-east-1");
    let credentials = Arc::new(RenewedCredentials::new(Arc::clone(&access.credentials)));
    let build = |options: ClientOptions, give_up_after: Duration| {
        let mut builder = AmazonS3Builder::new()
            .with_http_connector(AnswerLimit)
            .with_client_options(options.with_connect_timeout(CONNECT))
            .with_retry(retries(give_up_after))
            .with_bucket_name(bucket)
            .with_region(region)
            .with_disable_tagging(true)
            .with_credentials(Arc::clone(&credentials) as _);
        if let Some(endpoint) = &access.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        builder.build().map_err(|source| SnapshotError::store(format!("open {location}"), source))
    };
    let bucket = Bucket {
        requests: build(ClientOptions::new().with_timeout_disabled().with_read_timeout(SILENCE), PATIENCE)?,
        // No limit on silence: the server says nothing before it has all of a pack.
        uploads: build(ClientOptions::new().with_timeout(UPLOAD), UPLOAD)?,
        place: failure::Place {
            store: location.to_string(),
            bucket: bucket.to_owned(),
            endpoint: access.endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com")),
        },
    };
    if prefix.is_empty() { Ok(Arc::new(bucket)) } else { Ok(Arc::new(PrefixStore::new(bucket, prefix))) }
}

/// A server that is down is given up after 8 to 30 s: long enough for one that is started again. The pauses are random, so
/// that many hosts do not come back at once.
fn retries(give_up_after: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(4), base: 3.0 },
        max_retries: 8,
        retry_timeout: give_up_after,
    }
}
