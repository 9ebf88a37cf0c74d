//! Asks KMS again and again whether the key may still be used, until the answer is a final no.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kms_client::{EncryptionContext, Kms, KmsError, KmsKeyArn, KmsKeyId, WrappedKey};
use tokio::time::{Instant, sleep, timeout_at};

use super::decision::{Verdict, decide};
use super::events::VolumeState;
use super::outage::Outage;
use super::probes::Probes;
use crate::format::{Cause, RevocationPolicy};

/// The first pause after KMS did not answer; doubled each time, and never longer than the probe interval.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// A denial is believed when this many answers in a row agree.
const AGREEING_DENIALS: u32 = 3;

/// Makes KMS clients; a denial is confirmed over connections of its own.
pub trait KmsSource: Send + Sync {
    type Client: Kms;

    fn connect(&self) -> impl Future<Output = Result<Self::Client, KmsError>> + Send;

    /// How far a no from this client is believed. Asked after the no was heard.
    fn trust(&self, client: &Self::Client) -> Trust;
}

/// Who may have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anybody: not believed.
    Nobody,
    /// A process of ours or root's on this host, over plain http: enough to end a volume, not to destroy it.
    ThisHost,
    /// TLS proved who.
    Proven,
}

#[derive(Clone, Copy, Debug)]
pub struct GuardianOptions {
    pub probe_interval: Duration,
    /// The time within which the answers that confirm a denial are asked for.
    pub confirm_denial: Duration,
    /// Serving ends when KMS has not confirmed the key for so long; never, without.
    pub max_unverified: Option<Duration>,
}

/// The final no; or, with [`Cause::Unverified`], no answer for longer than the operator allows, which is nobody's decision
/// about the key.
#[derive(Clone, Debug)]
pub struct Revocation {
    pub cause: Cause,
    pub trust: Trust,
    /// AWS's own words, with the request id.
    pub answer: KmsError,
    pub at: Timestamp,
}

impl Revocation {
    /// What the volume is from then on.
    pub fn state(&self, policy: RevocationPolicy) -> VolumeState {
        match (self.cause, policy) {
            // Nobody decided anything.
            (Cause::Unverified, _) => VolumeState::Available,
            (_, RevocationPolicy::Recoverable { .. }) => VolumeState::Recoverable,
            (_, RevocationPolicy::Terminal | RevocationPolicy::Erase) => VolumeState::Terminal,
        }
    }

    /// AWS's code and message.
    pub fn detail(&self) -> String {
        format!("{}: {}", self.answer.code.as_deref().unwrap_or("no code"), self.answer.message)
    }
}

/// What others should hear of while serving goes on.
#[derive(Clone, Debug)]
pub enum Transition {
    /// KMS stopped confirming the key.
    Unverified(KmsError),
    /// It still does not, for so many seconds. Said again now and then ([`super::outage`]); nothing changed.
    StillUnverified { answer: KmsError, unverified_s: u64 },
    /// It does again; it had not since then.
    Verified(Timestamp),
    /// KMS said no and, asked again, did not repeat it.
    DenialNotConfirmed(KmsError),
}

/// When KMS last confirmed the key, and since when it has not.
#[derive(Clone, Debug)]
pub struct Verification {
    pub verified_at: Option<Timestamp>,
    pub unverified_since: Option<Timestamp>,
    /// Why it could not be verified, in AWS's words or ours.
    pub last_error: Option<String>,
    /// When it was last said.
    outage: Option<Outage>,
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
    /// Shared with the [`super::Heartbeat`].
    pub probes: Arc<Probes>,
    pub transitions: Box<dyn Fn(Transition) + Send + Sync>,
}

impl Verification {
    /// Of a volume whose key KMS has just unwrapped.
    pub fn verified_now() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            verified_at: Some(Timestamp::now()),
            unverified_since: None,
            last_error: None,
            outage: None,
        }))
    }

    /// Seconds since KMS stopped confirming the key; 0 while it does.
    pub fn unverified_s(&self, now: Timestamp) -> u64 {
        self.unverified_since.map_or(0, |since| u64::try_from(now.as_second() - since.as_second()).unwrap_or(0))
    }
}

impl<S: KmsSource> KeyGuardian<S> {
    /// Returns when serving must end, and only then. Cancel by dropping.
    pub async fn watch(&self) -> Revocation {
        let mut last_yes = Instant::now();
        let mut client = None;
        loop {
            let limit = self.options.max_unverified.map(|most| last_yes + most);
            let asking = self.ask_until_answered(&mut client);
            let answer = match limit {
                Some(limit) => timeout_at(limit, asking).await.ok(),
                None => Some(asking.await),
            };
            match answer {
                Some(Some(revocation)) => return revocation,
                Some(None) => last_yes = Instant::now(),
                None => return self.out_of_patience(),
            }
            let next = Instant::now() + jittered(self.options.probe_interval);
            self.probes.wait_until(limit_of(next, last_yes, self.options.max_unverified)).await;
        }
    }

    /// Asks until KMS says yes (`None`) or its no is final.
    async fn ask_until_answered(&self, client: &mut Option<S::Client>) -> Option<Revocation> {
        let mut retry = FIRST_RETRY;
        loop {
            let pause = match self.probe(client).await {
                Ok(()) => {
                    self.record_verified();
                    return None;
                }
                Err(no @ No { verdict: Verdict::Revoked(cause), .. }) => return Some(no.into_revocation(cause)),
                Err(no @ No { verdict: Verdict::Denied(cause), .. }) => match self.confirm(cause).await {
                    Some(revocation) => return Some(revocation),
                    None => {
                        (self.transitions)(Transition::DenialNotConfirmed(no.answer.clone()));
                        self.record_unverified(&no.answer);
                        FIRST_RETRY
                    }
                },
                Err(no) => {
                    // A connection that failed once is not trusted to work again.
                    *client = None;
                    self.record_unverified(&no.answer);
                    let pause = retry;
                    retry = retry.saturating_mul(2);
                    pause
                }
            };
            let pause = jittered(pause.min(self.options.probe_interval));
            retry = retry.min(self.options.probe_interval.max(FIRST_RETRY));
            self.probes.wait_until(Instant::now() + pause).await;
        }
    }

    fn out_of_patience(&self) -> Revocation {
        let most = self.options.max_unverified.unwrap_or_default();
        let last = self.verification.lock().unwrap_or_else(PoisonError::into_inner).last_error.clone();
        let message = last.unwrap_or_else(|| "the last probe has no answer yet".to_owned());
        let answer = KmsError {
            operation: "Decrypt",
            answer: kms_client::Answer::Unreachable,
            code: None,
            message: format!("not confirmed for {most:?}, which is the most that is allowed: {message}"),
            request_id: None,
        };
        Revocation { cause: Cause::Unverified, trust: Trust::Nobody, answer, at: Timestamp::now() }
    }

    async fn probe(&self, client: &mut Option<S::Client>) -> Result<(), No> {
        let began = self.probes.begin();
        let result = self.ask(client).await;
        let (answer, took) = self.probes.answered(began, result.as_ref().err().map(|no| no.verdict));
        tracing::debug!("probe: {answer} in {took:.1?}");
        result
    }

    async fn ask(&self, client: &mut Option<S::Client>) -> Result<(), No> {
        let kms = match client.take() {
            Some(kms) => kms,
            None => self.source.connect().await.map_err(|answer| No {
                verdict: decide(&answer, None),
                answer,
                trust: Trust::Nobody,
            })?,
        };
        let asked = kms.decrypt(&self.kms_key, &self.canary, &self.canary_context).await;
        let result = match asked {
            Ok(_worthless_plaintext) => Ok(()),
            Err(error) => {
                let described = match error.answer {
                    kms_client::Answer::InvalidState => kms.describe_key(&KmsKeyId::from(&self.kms_key)).await.ok(),
                    _ => None,
                };
                let verdict = decide(&error, described.map(|key| key.state).as_ref());
                Err(No { verdict, answer: error, trust: self.source.trust(&kms) })
            }
        };
        let result = result.map_err(|no| match no.verdict {
            Verdict::Revoked(_) | Verdict::Denied(_) if no.trust == Trust::Nobody => {
                let message =
                    format!("whoever answered in the place of KMS is not believed, who said: {}", no.answer.message);
                No { verdict: Verdict::Unreachable, answer: KmsError { message, ..no.answer }, ..no }
            }
            _ => no,
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
                Err(no @ No { verdict: Verdict::Denied(again), .. }) if again == cause => last = Some(no),
                Err(no @ No { verdict: Verdict::Revoked(cause), .. }) => return Some(no.into_revocation(cause)),
                _ => return None,
            }
        }
        last.map(|no| no.into_revocation(cause))
    }

    fn record_verified(&self) {
        let mut verification = self.verification.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = verification.unverified_since.take() {
            (self.transitions)(Transition::Verified(since));
        }
        verification.verified_at = Some(Timestamp::now());
        verification.last_error = None;
        verification.outage = None;
    }

    fn record_unverified(&self, answer: &KmsError) {
        let mut verification = self.verification.lock().unwrap_or_else(PoisonError::into_inner);
        let unverified_s = verification.unverified_s(Timestamp::now());
        if let Some(outage) = &mut verification.outage {
            if outage.is_to_be_said() {
                (self.transitions)(Transition::StillUnverified { answer: answer.clone(), unverified_s });
            }
        } else {
            (self.transitions)(Transition::Unverified(answer.clone()));
            verification.unverified_since = Some(verification.verified_at.unwrap_or_else(Timestamp::now));
            verification.outage = Some(Outage::begins());
        }
        verification.last_error = Some(answer.to_string());
    }
}

/// An answer that was not a yes.
struct No {
    verdict: Verdict,
    answer: KmsError,
    trust: Trust,
}

impl No {
    fn into_revocation(self, cause: Cause) -> Revocation {
        Revocation { cause, trust: self.trust, answer: self.answer, at: Timestamp::now() }
    }
}

fn limit_of(next: Instant, last_yes: Instant, most: Option<Duration>) -> Instant {
    most.map_or(next, |most| next.min(last_yes + most))
}

/// A little early, never late, so that many volumes do not ask in step and the promised interval still holds.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without randomness there is no jitter, and nothing else is lost.
    let _ = getrandom::fill(&mut byte);
    pause.mul_f64(1.0 - f64::from(byte[0]) / 255.0 / 10.0)
}
