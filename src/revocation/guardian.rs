//! Asks KMS again and again whether the key may still be used, until the answer is a final no.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kms_client::{EncryptionContext, Kms, KmsError, KmsKeyArn, KmsKeyId, WrappedKey};
use tokio::time::sleep;

use super::decision::{Verdict, decide};
use crate::format::Cause;

/// The first pause after KMS did not answer; doubled each time, and never longer than the probe interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// A denial is believed when this many answers in a row agree.
const AGREEING_DENIALS: u32 = 3;

/// Makes KMS clients; a denial is confirmed over connections of its own.
pub trait KmsSource: Send + Sync {
    type Client: Kms;

    fn connect(&self) -> impl Future<Output = Result<Self::Client, KmsError>> + Send;

    /// Whether a no from this client may end a volume. Asked after the no was heard.
    fn may_revoke(&self, client: &Self::Client) -> bool;
}

#[derive(Clone, Copy, Debug)]
pub struct GuardianOptions {
    pub probe_interval: Duration,
    /// The time within which the answers that confirm a denial are asked for.
    pub confirm_denial: Duration,
}

/// The final no.
#[derive(Clone, Debug)]
pub struct Revocation {
    pub cause: Cause,
    /// AWS's own words, with the request id.
    pub answer: KmsError,
    pub at: Timestamp,
}

/// When KMS last confirmed the key, and since when it has not.
#[derive(Clone, Debug)]
pub struct Verification {
    pub verified_at: Option<Timestamp>,
    pub unverified_since: Option<Timestamp>,
    /// Why it could not be verified, in AWS's words or ours.
    pub last_error: Option<String>,
}

/// Watches one KMS key through the canary of one volume: a second key, wrapped under the same KMS key and context,
/// whose plaintext opens nothing. Unwrapping it asks exactly what unwrapping the volume key would ask.
pub struct KeyGuardian<S: KmsSource> {
    pub source: S,
    pub kms_key: KmsKeyArn,
    pub canary: WrappedKey,
    pub canary_context: EncryptionContext,
    pub options: GuardianOptions,
    pub verification: Arc<Mutex<Verification>>,
}

impl Verification {
    /// Of a volume whose key KMS has just unwrapped.
    pub fn verified_now() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { verified_at: Some(Timestamp::now()), unverified_since: None, last_error: None }))
    }

    /// Seconds since KMS stopped confirming the key; 0 while it does.
    pub fn unverified_s(&self, now: Timestamp) -> u64 {
        self.unverified_since.map_or(0, |since| u64::try_from(now.as_second() - since.as_second()).unwrap_or(0))
    }
}

impl<S: KmsSource> KeyGuardian<S> {
    /// Returns when the key is revoked, and only then. Cancel by dropping.
    pub async fn watch(&self) -> Revocation {
        let mut client = None;
        let mut retry = FIRST_RETRY;
        loop {
            let pause = match self.probe(&mut client).await {
                Ok(()) => {
                    retry = FIRST_RETRY;
                    self.record_verified();
                    self.options.probe_interval
                }
                Err((Verdict::Revoked(cause), answer)) => return Revocation { cause, answer, at: Timestamp::now() },
                Err((Verdict::Denied(cause), answer)) => match self.confirm(cause).await {
                    Some(revocation) => return revocation,
                    None => {
                        self.record_unverified(&answer);
                        FIRST_RETRY.min(self.options.probe_interval)
                    }
                },
                Err((_, answer)) => {
                    // A connection that failed once is not trusted to work again.
                    client = None;
                    self.record_unverified(&answer);
                    let pause = retry.min(self.options.probe_interval);
                    retry = retry.saturating_mul(2);
                    pause
                }
            };
            sleep(jittered(pause)).await;
        }
    }

    async fn probe(&self, client: &mut Option<S::Client>) -> Result<(), (Verdict, KmsError)> {
        let kms = match client.take() {
            Some(kms) => kms,
            None => self.source.connect().await.map_err(|error| (decide(&error, None), error))?,
        };
        let asked = kms.decrypt(&self.kms_key, &self.canary, &self.canary_context).await;
        let result = match asked {
            Ok(_worthless_plaintext) => Ok(()),
            Err(error) if error.answer == kms_client::Answer::InvalidState => {
                let described = kms.describe_key(&KmsKeyId::from(&self.kms_key)).await;
                Err((decide(&error, described.ok().map(|key| key.state).as_ref()), error))
            }
            Err(error) => Err((decide(&error, None), error)),
        };
        let result = result.map_err(|(verdict, answer)| match verdict {
            Verdict::Revoked(_) | Verdict::Denied(_) if !self.source.may_revoke(&kms) => {
                tracing::warn!("whoever answered in the place of KMS is not believed: {answer}");
                (Verdict::Unreachable, answer)
            }
            _ => (verdict, answer),
        });
        *client = Some(kms);
        result
    }

    /// Asks twice more within the confirmation time, each time over a new connection. Any other answer: not confirmed.
    async fn confirm(&self, cause: Cause) -> Option<Revocation> {
        let pause = self.options.confirm_denial / AGREEING_DENIALS;
        let mut last = None;
        for _ in 1..AGREEING_DENIALS {
            sleep(pause).await;
            match self.probe(&mut None).await {
                Err((Verdict::Denied(again), answer)) if again == cause => last = Some(answer),
                Err((Verdict::Revoked(cause), answer)) => {
                    return Some(Revocation { cause, answer, at: Timestamp::now() });
                }
                _ => return None,
            }
        }
        last.map(|answer| Revocation { cause, answer, at: Timestamp::now() })
    }

    fn record_verified(&self) {
        let mut verification = self.verification.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = verification.unverified_since.take() {
            tracing::info!("KMS confirms the key again; it had not since {since}");
        }
        verification.verified_at = Some(Timestamp::now());
        verification.last_error = None;
    }

    fn record_unverified(&self, answer: &KmsError) {
        let mut verification = self.verification.lock().unwrap_or_else(PoisonError::into_inner);
        if verification.unverified_since.is_none() {
            tracing::warn!("KMS does not confirm the key; serving goes on: {answer}");
            verification.unverified_since = Some(verification.verified_at.unwrap_or_else(Timestamp::now));
        }
        verification.last_error = Some(answer.to_string());
    }
}

/// A little early, never late, so that many volumes do not ask in step and the promised interval still holds.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter, and nothing else is lost.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(1.0 - f64::from(byte[0]) / 255.0 / 10.0)
}
