//! Credentials come from whoever calls, and are asked for again while the old ones still serve.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::failure::CREDENTIALS;

/// Asked in a thread that may wait.
pub type S3CredentialSource = Arc<dyn Fn() -> Result<S3Credentials, String> + Send + Sync>;

#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct S3Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
    #[zeroize(skip)]
    pub expires_at: Option<Timestamp>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl S3Credentials {
    /// When to ask for new ones, if not even the old ones serve for longer than that: `before` they expire, or after half
    /// the time that is left; never at once, or whoever gives out credentials that are about to expire is asked without end.
    pub fn renew_at(&self, before: SignedDuration, now: Timestamp) -> Option<Timestamp> {
        let expires_at = self.expires_at?;
        let left = expires_at.duration_since(now);
        Some((expires_at - before.min(left / 2)).max(now + PAUSE))
    }
}

const BEFORE_EXPIRY: SignedDuration = SignedDuration::from_mins(5);
const PAUSE: SignedDuration = SignedDuration::from_secs(1);

pub(super) struct RenewedCredentials {
    source: S3CredentialSource,
    /// Locked while they are asked for: one question serves all requests that wait.
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    credential: Arc<AwsCredential>,
    renew_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
}

impl RenewedCredentials {
    pub(super) fn new(source: S3CredentialSource) -> Self {
        Self { source, cached: Mutex::default() }
    }

    async fn current(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut cached = self.cached.lock().await;
        let now = Timestamp::now();
        if let Some(cached) = &*cached
            && cached.renew_at.is_none_or(|at| now < at)
        {
            return Ok(Arc::clone(&cached.credential));
        }
        let source = Arc::clone(&self.source);
        let answer = tokio::task::spawn_blocking(move || source()).await?;
        let fresh = match (answer, &mut *cached) {
            (Ok(fresh), _) => fresh,
            (Err(problem), Some(old)) if old.expires_at.is_some_and(|at| now < at) => {
                tracing::warn!("no new credentials for S3: {problem}");
                old.renew_at = Some(now + PAUSE);
                return Ok(Arc::clone(&old.credential));
            }
            (Err(problem), _) => {
                return Err(object_store::Error::Generic { store: CREDENTIALS, source: problem.into() });
            }
        };
        let credential = Arc::new(AwsCredential {
            key_id: fresh.access_key_id.clone(),
            secret_key: fresh.secret_access_key.clone(),
            token: fresh.session_token.clone(),
        });
        *cached = Some(Cached {
            credential: Arc::clone(&credential),
            renew_at: fresh.renew_at(BEFORE_EXPIRY, Timestamp::now()),
            expires_at: fresh.expires_at,
        });
        Ok(credential)
    }
}

impl fmt::Debug for RenewedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenewedCredentials")
    }
}

impl CredentialProvider for RenewedCredentials {
    type Credential = AwsCredential;

    // As `async_trait` would have it.
    fn get_credential<'s, 'f>(&'s self) -> BoxFuture<'f, object_store::Result<Arc<AwsCredential>>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(self.current())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn lasting(left: SignedDuration) -> S3Credentials {
        until(Some(Timestamp::now() + left))
    }

    fn until(expires_at: Option<Timestamp>) -> S3Credentials {
        S3Credentials {
            access_key_id: "AKIA".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: None,
            expires_at,
        }
    }

    #[test]
    fn they_are_renewed_before_they_expire() {
        let now = Timestamp::now();
        for (left_s, renewed_after_s) in [(3600, 3300), (600, 300), (240, 120), (10, 5), (1, 1), (-60, 1)] {
            let credentials = until(Some(now + SignedDuration::from_secs(left_s)));
            let at = credentials.renew_at(BEFORE_EXPIRY, now).unwrap();
            assert_eq!(at.duration_since(now).as_secs(), renewed_after_s, "{left_s} s left");
        }
        assert_eq!(until(None).renew_at(BEFORE_EXPIRY, now), None);
    }

    #[tokio::test]
    async fn many_requests_ask_once() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let credentials = RenewedCredentials::new(Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(lasting(SignedDuration::from_mins(4)))
        }));
        let all = futures_util::future::join_all((0..20).map(|_| credentials.get_credential())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_renewed_serves_until_it_expires() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let credentials = RenewedCredentials::new(Arc::new(move || match count.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(lasting(SignedDuration::from_mins(4))),
            _ => Err("the login has ended".to_owned()),
        }));
        let expire = |renew, expire: SignedDuration| {
            let mut cached = credentials.cached.try_lock().unwrap();
            let cached = cached.as_mut().unwrap();
            (cached.renew_at, cached.expires_at) = (Some(Timestamp::now() + renew), Some(Timestamp::now() + expire));
        };
        credentials.get_credential().await.unwrap();
        expire(-SignedDuration::from_secs(1), SignedDuration::from_mins(1));
        credentials.get_credential().await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        expire(-SignedDuration::from_secs(1), -SignedDuration::from_secs(1));
        let error = credentials.get_credential().await.unwrap_err();
        assert!(error.to_string().contains("the login has ended"), "{error}");
    }
}
