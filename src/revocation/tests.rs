//! The decision table row by row, and the guardian against a KMS that answers by script.

mod log;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kms_client::{
    Answer, DataKey, Decrypted, EncryptionContext, Grant, GrantRequest, KeyDescription, KeyState, Kms, KmsError,
    KmsKeyArn, KmsKeyId, ReEncrypted, WrappedKey,
};
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::{
    GuardianOptions, Heartbeat, KeyGuardian, KmsSource, Lease, Probes, Revocation, Transition, Trust, Verdict,
    Verification, decide,
};
use crate::format::Cause;

fn refusal(answer: Answer) -> KmsError {
    KmsError {
        operation: "Decrypt",
        answer,
        code: Some(format!("{answer:?}")),
        message: String::new(),
        request_id: None,
    }
}

#[test]
fn every_answer_has_one_meaning() {
    let table = [
        (Answer::Disabled, Verdict::Revoked(Cause::KeyDisabled)),
        (Answer::InvalidState, Verdict::Unreachable),
        (Answer::AccessDenied, Verdict::Denied(Cause::AccessDenied)),
        (Answer::NotFound, Verdict::Denied(Cause::KeyNotFound)),
        (Answer::WrongCiphertext, Verdict::Mismatch),
        (Answer::Unauthenticated, Verdict::Unreachable),
        (Answer::Other, Verdict::Unreachable),
        (Answer::Unreachable, Verdict::Unreachable),
    ];
    for (answer, verdict) in table {
        assert_eq!(decide(&refusal(answer), None), verdict, "{answer:?}");
    }
}

#[test]
fn an_invalid_state_means_what_describe_key_then_says() {
    let table = [
        (KeyState::Disabled, Verdict::Revoked(Cause::KeyDisabled)),
        (KeyState::PendingDeletion, Verdict::Revoked(Cause::KeyPendingDeletion)),
        (KeyState::PendingReplicaDeletion, Verdict::Revoked(Cause::KeyPendingReplicaDeletion)),
        (KeyState::PendingImport, Verdict::Revoked(Cause::KeyPendingImport)),
        (KeyState::Unavailable, Verdict::Unreachable),
        (KeyState::Creating, Verdict::Unreachable),
        (KeyState::Updating, Verdict::Unreachable),
        (KeyState::Enabled, Verdict::Unreachable),
        (KeyState::Other("New".to_owned()), Verdict::Unreachable),
    ];
    for (state, verdict) in table {
        assert_eq!(decide(&refusal(Answer::InvalidState), Some(&state)), verdict, "{state:?}");
        // The state says nothing about any other answer.
        assert_eq!(decide(&refusal(Answer::Unreachable), Some(&state)), Verdict::Unreachable);
    }
}

const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

/// Answers `Decrypt` by script, and yes when the script has ended.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Result<(), Answer>>>>,
    asked_at: Arc<Mutex<Vec<Instant>>>,
    connected_at: Arc<Mutex<Vec<Instant>>>,
    state: Option<KeyState>,
    impostor: bool,
    max_unverified: Option<Duration>,
    probes: Arc<Probes>,
    heard: Arc<Mutex<Vec<Transition>>>,
}

impl Script {
    fn new(answers: impl IntoIterator<Item = Result<(), Answer>>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    fn guardian(&self) -> KeyGuardian<Self> {
        KeyGuardian {
            source: self.clone(),
            kms_key: ARN.parse().unwrap(),
            canary: WrappedKey(vec![1]),
            canary_context: EncryptionContext::default(),
            options: GuardianOptions {
                probe_interval: Duration::from_secs(10),
                confirm_denial: Duration::from_secs(5),
                max_unverified: self.max_unverified,
            },
            verification: Verification::verified_now(),
            probes: Arc::clone(&self.probes),
            transitions: {
                let heard = Arc::clone(&self.heard);
                Box::new(move |transition| heard.lock().unwrap().push(transition))
            },
        }
    }

    fn asked(&self) -> usize {
        self.asked_at.lock().unwrap().len()
    }
}

impl KmsSource for Script {
    type Client = Self;

    async fn connect(&self) -> Result<Self, KmsError> {
        self.connected_at.lock().unwrap().push(Instant::now());
        Ok(self.clone())
    }

    fn trust(&self, _: &Self) -> Trust {
        if self.impostor { Trust::Nobody } else { Trust::ThisHost }
    }
}

impl Kms for Script {
    async fn decrypt(&self, key: &KmsKeyArn, _: &WrappedKey, _: &EncryptionContext) -> Result<Decrypted, KmsError> {
        self.asked_at.lock().unwrap().push(Instant::now());
        match self.answers.lock().unwrap().pop_front() {
            None | Some(Ok(())) => {
                Ok(Decrypted { plaintext: Zeroizing::new(vec![0; 64]), kms_key: key.clone(), request_id: None })
            }
            Some(Err(answer)) => Err(refusal(answer)),
        }
    }

    async fn describe_key(&self, _: &KmsKeyId) -> Result<KeyDescription, KmsError> {
        match &self.state {
            Some(state) => Ok(KeyDescription {
                arn: ARN.parse().unwrap(),
                state: state.clone(),
                wraps_data_keys: true,
                aws_managed: false,
            }),
            None => Err(refusal(Answer::Unreachable)),
        }
    }

    async fn generate_data_key(&self, _: &KmsKeyId, _: u16, _: &EncryptionContext) -> Result<DataKey, KmsError> {
        Err(refusal(Answer::Other))
    }

    async fn generate_data_key_without_plaintext(
        &self,
        _: &KmsKeyId,
        _: u16,
        _: &EncryptionContext,
    ) -> Result<(WrappedKey, KmsKeyArn), KmsError> {
        Err(refusal(Answer::Other))
    }

    async fn create_grant(&self, _: &GrantRequest) -> Result<Grant, KmsError> {
        Err(refusal(Answer::Other))
    }

    async fn may_create_grant(&self, _: &GrantRequest) -> Result<(), KmsError> {
        unreachable!()
    }

    async fn retire_grant(&self, _: &KmsKeyArn, _: &Grant) -> Result<(), KmsError> {
        Err(refusal(Answer::Other))
    }

    async fn re_encrypt(
        &self,
        _: &KmsKeyArn,
        _: &WrappedKey,
        _: &EncryptionContext,
        _: &KmsKeyId,
    ) -> Result<ReEncrypted, KmsError> {
        Err(refusal(Answer::Other))
    }
}

/// What the guardian decides within ten minutes of script time.
async fn watch(script: &Script) -> Option<Revocation> {
    timeout(Duration::from_secs(600), script.guardian().watch()).await.ok()
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_is_revoked_at_the_first_answer() {
    let script = Script::new([Ok(()), Err(Answer::Disabled)]);
    let started = Instant::now();
    let revocation = watch(&script).await.expect("a verdict");
    assert_eq!(revocation.cause, Cause::KeyDisabled);
    assert_eq!(script.asked(), 2);
    assert!(started.elapsed() <= Duration::from_secs(10), "later than one probe interval: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_stays_enabled_is_never_revoked() {
    let script = Script::default();
    assert!(watch(&script).await.is_none());
    // Every ten seconds, a little early but not twice as often.
    assert!((60..=70).contains(&script.asked()), "{} probes in 600 s", script.asked());
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_as_long_as_it_works() {
    let script = Script::default();
    assert!(watch(&script).await.is_none());
    assert_eq!(script.connected_at.lock().unwrap().len(), 1);

    let script = Script::new([Ok(()), Err(Answer::Unreachable)]);
    assert!(watch(&script).await.is_none());
    assert_eq!(script.connected_at.lock().unwrap().len(), 2, "one that failed is not trusted again");
}

#[tokio::test(start_paused = true)]
async fn an_invalid_state_is_looked_up() {
    let mut script = Script::new([Err(Answer::InvalidState)]);
    script.state = Some(KeyState::PendingDeletion);
    assert_eq!(watch(&script).await.expect("a verdict").cause, Cause::KeyPendingDeletion);

    let mut script = Script::new([Err(Answer::InvalidState)]);
    script.state = Some(KeyState::Unavailable);
    assert!(watch(&script).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_denial_counts_when_three_answers_agree() {
    for (answer, cause) in [(Answer::AccessDenied, Cause::AccessDenied), (Answer::NotFound, Cause::KeyNotFound)] {
        let script = Script::new([Err(answer), Err(answer), Err(answer)]);
        let started = Instant::now();
        assert_eq!(watch(&script).await.expect("a verdict").cause, cause);
        assert_eq!(script.asked(), 3);
        assert!(started.elapsed() <= Duration::from_secs(5));
    }
}

#[tokio::test(start_paused = true)]
async fn a_denial_that_is_not_repeated_is_ridden_through() {
    for second in [Ok(()), Err(Answer::Unreachable), Err(Answer::NotFound)] {
        let script = Script::new([Err(Answer::AccessDenied), second, Ok(())]);
        assert!(watch(&script).await.is_none(), "{second:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disabled_key_decides_while_a_denial_is_confirmed() {
    let script = Script::new([Err(Answer::AccessDenied), Err(Answer::Disabled)]);
    assert_eq!(watch(&script).await.expect("a verdict").cause, Cause::KeyDisabled);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_ridden_through_and_counted() {
    let script = Script::new(std::iter::repeat_n(Err(Answer::Unreachable), 1000));
    let guardian = script.guardian();
    assert!(timeout(Duration::from_secs(60), guardian.watch()).await.is_err(), "an outage is not a revocation");
    {
        let verification = guardian.verification.lock().unwrap();
        assert!(verification.unverified_since.is_some());
        assert!(verification.last_error.is_some());
    }
    // 1, 2, 4, 8, then at most 10 seconds apart.
    assert!((8..=14).contains(&script.asked()), "{} probes in 60 s", script.asked());

    script.answers.lock().unwrap().clear();
    assert!(timeout(Duration::from_secs(20), guardian.watch()).await.is_err());
    assert!(guardian.verification.lock().unwrap().unverified_since.is_none(), "verified again");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_ciphertext_is_an_alarm_and_no_revocation() {
    let script = Script::new(std::iter::repeat_n(Err(Answer::WrongCiphertext), 1000));
    assert!(watch(&script).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_no_from_an_impostor_is_no_answer() {
    for answer in [Answer::Disabled, Answer::AccessDenied] {
        let script = Script { impostor: true, ..Script::new(std::iter::repeat_n(Err(answer), 1000)) };
        assert!(watch(&script).await.is_none(), "{answer:?}");
        let honest = Script::new(std::iter::repeat_n(Err(answer), 1000));
        assert!(watch(&honest).await.is_some(), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn serving_ends_when_kms_is_silent_for_longer_than_allowed() {
    let silent = || Script::new(std::iter::repeat_n(Err(Answer::Unreachable), 1000));
    let patient = Script { max_unverified: Some(Duration::from_secs(900)), ..silent() };
    assert!(watch(&patient).await.is_none());

    let most = Duration::from_secs(45);
    let script = Script { max_unverified: Some(most), ..silent() };
    let started = Instant::now();
    assert_eq!(watch(&script).await.expect("a verdict").cause, Cause::Unverified);
    assert!((most..most + Duration::from_secs(1)).contains(&started.elapsed()), "{:?}", started.elapsed());

    // A yes begins the time anew.
    let answers = std::iter::once(Ok(())).chain(std::iter::repeat_n(Err(Answer::Unreachable), 1000));
    let script = Script { max_unverified: Some(most), ..Script::new(answers) };
    let started = Instant::now();
    assert_eq!(watch(&script).await.expect("a verdict").cause, Cause::Unverified);
    assert!((most..most + Duration::from_secs(2)).contains(&started.elapsed()), "{:?}", started.elapsed());

    // What KMS says counts at once, however long it was silent.
    let answers = std::iter::repeat_n(Err(Answer::Unreachable), 3).chain([Err(Answer::Disabled)]);
    let script = Script { max_unverified: Some(most), ..Script::new(answers) };
    assert_eq!(watch(&script).await.expect("a verdict").cause, Cause::KeyDisabled);
}

#[tokio::test(start_paused = true)]
async fn others_hear_of_each_change_once() {
    let mut answers: Vec<_> = std::iter::repeat_n(Err(Answer::Unreachable), 5).collect();
    answers.extend([Ok(()), Err(Answer::AccessDenied), Ok(())]);
    let script = Script::new(answers);
    assert!(watch(&script).await.is_none());
    let heard: Vec<String> = script.heard.lock().unwrap().iter().map(|heard| format!("{heard:?}")).collect();
    let kinds: Vec<&str> = heard.iter().map(|heard| heard.split('(').next().unwrap()).collect();
    assert_eq!(kinds, ["Unverified", "Verified", "DenialNotConfirmed", "Unverified", "Verified"]);
}

/// Notes when serving was last extended.
struct Extended(Arc<Mutex<Vec<Instant>>>);

impl Lease for Extended {
    fn extend(&self, _: Duration) {
        self.0.lock().unwrap().push(Instant::now());
    }
}

#[tokio::test(start_paused = true)]
async fn the_heart_beats_well_within_two_probe_intervals() {
    let beats = Arc::new(Mutex::new(Vec::new()));
    let heartbeat = Heartbeat {
        probe_interval: Duration::from_secs(10),
        probes: Arc::default(),
        lease: Box::new(Extended(Arc::clone(&beats))),
    };
    assert!(timeout(Duration::from_secs(100), heartbeat.beat()).await.is_err());
    let beats = beats.lock().unwrap();
    assert!(beats.len() > 30);
    assert!(beats.windows(2).all(|pair| pair[1] - pair[0] < Duration::from_secs(10)));
}

#[tokio::test(start_paused = true)]
async fn probes_are_counted_by_what_they_mean() {
    let answers = [
        Ok(()),
        Err(Answer::AccessDenied),
        Ok(()),
        Err(Answer::Unreachable),
        Err(Answer::WrongCiphertext),
        Err(Answer::Disabled),
    ];
    let script = Script::new(answers);
    assert!(watch(&script).await.is_some());
    let counted = script.probes.counters();
    let expected = [("ok", 2), ("denied", 1), ("revoked", 1), ("unreachable", 1), ("mismatch", 1)];
    assert_eq!(counted.answers.kinds(), expected);
    assert_eq!(counted.latency.total(), 6);
    let last: Vec<&str> = counted.last.iter().map(|last| last.answer.as_str()).collect();
    assert_eq!(last, ["ok", "denied", "ok", "unreachable", "mismatch", "revoked"]);
}
