//! Credentials, region and endpoint for S3, found where those for KMS are. Nothing is asked of S3 here.

use std::time::SystemTime;

use aws_types::region::Region;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::configured_endpoint;
use super::login::{Login, failed};
use super::patience::Patience;
use crate::answer::KmsError;

/// What requests to S3 are signed with, and where they go. No `Debug`: it holds a secret.
#[derive(Clone)]
pub struct S3Login {
    pub region: String,
    /// `AWS_ENDPOINT_URL_S3`, or what a profile says; `None` is AWS's own.
    pub endpoint: Option<String>,
    pub access_key_id: String,
    pub secret_access_key: Zeroizing<String>,
    pub session_token: Option<Zeroizing<String>>,
    pub expires_at: Option<SystemTime>,
}

impl S3Login {
    /// Asks again wherever the credentials come from; call it once more when they expire.
    ///
    /// # Errors
    /// [`crate::Answer::Unauthenticated`]: no such profile, no region, no credentials, or not in time.
    pub async fn find(login: &Login, patience: Patience) -> Result<Self, KmsError> {
        let found = async {
            let (sdk, region, source): (_, Region, _) = login.resolve(patience).await?;
            let credentials = login.load(&source).await?;
            Ok(Self {
                region: region.to_string(),
                endpoint: configured_endpoint(&sdk, "S3"),
                access_key_id: credentials.access_key_id().to_owned(),
                secret_access_key: Zeroizing::new(credentials.secret_access_key().to_owned()),
                session_token: credentials.session_token().map(|token| Zeroizing::new(token.to_owned())),
                expires_at: credentials.expiry(),
            })
        };
        timeout(patience.total, found).await.unwrap_or_else(|_| {
            Err(failed(format!("no credentials for S3 within {:?} {}", patience.total, login.sources())))
        })
    }
}
