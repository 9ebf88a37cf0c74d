use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use kms_client::{
    Answer, DataKey, Decrypted, EncryptionContext, Grant, GrantRequest, GrantToken, KeyDescription, Kms, KmsError,
    KmsKeyArn, KmsKeyId, ReEncrypted, WrappedKey,
};
use zeroize::Zeroizing;

use super::super::{LockedArea, LockedBox};
use super::helper::unwrap_with;
use super::wire::{self, Outcome, Question};
use super::{HelperError, UnwrapError, UnwrapRequest, is_unwrap_helper, read_line, unwrap_by};

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const OTHER_KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/0987dcba-09fe-87dc-65ba-ab0987654321";
const PATIENT: Duration = Duration::from_secs(20);

fn request() -> UnwrapRequest {
    UnwrapRequest {
        kms_key: KEY.parse().unwrap(),
        wrapped: WrappedKey((0..=255).cycle().take(6144).collect()),
        context: EncryptionContext::default().with("aws:rds:db-id", "db-X").with("aws:ebs:id", "vol-1"),
        profile: Some("volume".to_owned()),
        grant_token: Some(GrantToken::new("AQpAM2Rh")),
    }
}

/// The plaintext and the ARN of the key it was unwrapped with.
type Canned = Result<(Vec<u8>, &'static str), KmsError>;

/// Answers `Decrypt` as told, if it is asked exactly what [`request`] says.
struct CannedKms(Box<dyn Fn() -> Canned + Send + Sync>);

impl Kms for CannedKms {
    async fn decrypt(
        &self,
        key: &KmsKeyArn,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
    ) -> Result<Decrypted, KmsError> {
        let asked = request();
        assert_eq!((key, wrapped, context), (&asked.kms_key, &asked.wrapped, &asked.context));
        let (plaintext, kms_key) = (self.0)()?;
        Ok(Decrypted { plaintext: Zeroizing::new(plaintext), kms_key: kms_key.parse().unwrap(), request_id: None })
    }

    async fn describe_key(&self, _: &KmsKeyId) -> Result<KeyDescription, KmsError> {
        unreachable!()
    }
    async fn generate_data_key(&self, _: &KmsKeyId, _: u16, _: &EncryptionContext) -> Result<DataKey, KmsError> {
        unreachable!()
    }
    async fn generate_data_key_without_plaintext(
        &self,
        _: &KmsKeyId,
        _: u16,
        _: &EncryptionContext,
    ) -> Result<(WrappedKey, KmsKeyArn), KmsError> {
        unreachable!()
    }
    async fn create_grant(&self, _: &GrantRequest) -> Result<Grant, KmsError> {
        unreachable!()
    }
    async fn may_create_grant(&self, _: &GrantRequest) -> Result<(), KmsError> {
        unreachable!()
    }
    async fn retire_grant(&self, _: &KmsKeyArn, _: &Grant) -> Result<(), KmsError> {
        unreachable!()
    }
    async fn re_encrypt(
        &self,
        _: &KmsKeyArn,
        _: &WrappedKey,
        _: &EncryptionContext,
        _: &KmsKeyId,
    ) -> Result<ReEncrypted, KmsError> {
        unreachable!()
    }
}
/// One conversation, the helper's side on a thread of this process: the outcome, and what then is in the area.
fn converse(
    kms: impl Fn() -> Canned + Send + Sync + 'static,
    offset_for: impl Fn(&LockedBox<[u8; 64]>) -> usize,
) -> (Outcome, [u8; 64]) {
    let area = LockedArea::new().unwrap();
    let _neighbour = area.place([0xee; 64]).unwrap();
    let key = area.place([0; 64]).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let helper = thread::spawn(move || {
        let (question, area) = wire::receive(&theirs).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome = runtime.block_on(unwrap_with(&CannedKms(Box::new(kms)), &question, &area));
        wire::reply(&theirs, &outcome).unwrap();
    });
    let question = Question { offset_bytes: offset_for(&key), request: request() };
    wire::send(&ours, &question, area.descriptor()).unwrap();
    let line = read_line(&ours, Instant::now() + PATIENT).unwrap();
    helper.join().unwrap();
    assert!(!line.windows(4).any(|bytes| bytes == b"7,7,"), "the key must not be in the outcome");
    (serde_json::from_slice(&line).unwrap(), *key)
}

#[test]
fn the_key_is_written_where_it_was_asked_for() {
    let (outcome, key) = converse(|| Ok((vec![7; 64], KEY)), LockedBox::offset_bytes);
    assert!(matches!(outcome, Outcome::Unwrapped), "{outcome:?}");
    assert_eq!(key, [7; 64]);
}

#[test]
fn the_grant_token_reaches_the_helper_and_no_debug_output() {
    let area = LockedArea::new().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let question = Question { offset_bytes: 0, request: request() };
    let received = thread::spawn(move || wire::receive(&theirs).unwrap());
    wire::send(&ours, &question, area.descriptor()).unwrap();
    let (received, _) = received.join().unwrap();
    assert_eq!(received.request.grant_token, Some(GrantToken::new("AQpAM2Rh")));
    let debug = format!("{:?}", received.request);
    assert!(debug.contains("GrantToken") && !debug.contains("AQpAM2Rh"), "{debug}");
}

#[test]
fn another_kms_key_or_another_length_is_refused_and_nothing_written() {
    let (outcome, key) = converse(|| Ok((vec![7; 64], OTHER_KEY)), LockedBox::offset_bytes);
    assert!(matches!(outcome, Outcome::OtherKmsKey(answered) if answered.as_str() == OTHER_KEY));
    assert_eq!(key, [0; 64]);

    for wrong in [0, 32, 63, 65, 4096] {
        let (outcome, key) = converse(move || Ok((vec![7; wrong], KEY)), LockedBox::offset_bytes);
        assert!(matches!(outcome, Outcome::NotAVolumeKey { len_bytes } if len_bytes == wrong));
        assert_eq!(key, [0; 64]);
    }
}

#[test]
fn a_place_outside_the_area_is_refused() {
    for offset in [LockedArea::LEN_BYTES - 63, LockedArea::LEN_BYTES, usize::MAX - 8] {
        let (outcome, key) = converse(|| Ok((vec![7; 64], KEY)), move |_| offset);
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        assert_eq!(key, [0; 64]);
    }
    let last = LockedArea::LEN_BYTES - 64;
    let (outcome, _) = converse(|| Ok((vec![7; 64], KEY)), move |_| last);
    assert!(matches!(outcome, Outcome::Unwrapped), "{outcome:?}");
}

#[test]
fn an_answer_of_kms_arrives_whole() {
    use Answer::*;
    for answer in [Disabled, InvalidState, AccessDenied, NotFound, WrongCiphertext, Unauthenticated, Other, Unreachable]
    {
        for (operation, code) in [("Decrypt", Some("SomeException")), ("login", None)] {
            let said = KmsError {
                operation,
                answer,
                code: code.map(str::to_owned),
                message: "said \"no\"\nand meant it".to_owned(),
                request_id: code.map(|_| "1-2-3".to_owned()),
            };
            let expected = format!("{said:?}");
            let (outcome, key) = converse(move || Err(said.clone()), LockedBox::offset_bytes);
            let Outcome::Kms(refusal) = outcome else { panic!("{outcome:?}") };
            assert_eq!(format!("{:?}", KmsError::from(refusal)), expected);
            assert_eq!(key, [0; 64]);
        }
    }
}

fn with_shell(script: &str, patience: Duration) -> Result<(), UnwrapError> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    unwrap_by(command, &LockedArea::new().unwrap(), &request(), patience).map(drop)
}

fn helper_error(script: &str, patience: Duration) -> HelperError {
    match with_shell(script, patience) {
        Err(UnwrapError::Helper(error)) => error,
        Err(other) => panic!("{other}"),
        Ok(()) => panic!("`{script}` passed for a helper"),
    }
}

#[test]
fn a_helper_that_fails_is_told_apart_from_an_answer_of_kms() {
    assert!(with_shell("cat > /dev/null; echo '\"unwrapped\"'", PATIENT).is_ok());

    let exited = helper_error("exit 3", PATIENT);
    assert!(matches!(exited, HelperError::Ended(status) if status.code() == Some(3)), "{exited:?}");
    let killed = helper_error("cat > /dev/null; kill -9 $$", PATIENT);
    assert!(matches!(killed, HelperError::Ended(status) if status.signal() == Some(9)), "{killed:?}");
    let mute = helper_error("exec >&- <&-; exec sleep 600", PATIENT);
    assert!(matches!(mute, HelperError::Ended(_)), "{mute:?}");
    let garbled = helper_error("cat > /dev/null; echo nonsense", PATIENT);
    assert!(matches!(garbled, HelperError::Unintelligible(_)), "{garbled:?}");
}

#[test]
fn a_helper_that_hangs_is_killed() {
    let begin = Instant::now();
    let overdue = helper_error("exec sleep 600", Duration::from_millis(200));
    assert!(matches!(overdue, HelperError::Overdue(_)), "{overdue:?}");
    assert!(begin.elapsed() < PATIENT, "{:?}", begin.elapsed());
}

#[test]
fn a_helper_that_cannot_start_is_said_so() {
    let area = LockedArea::new().unwrap();
    let refused = unwrap_by(Command::new("/nonexistent/envol"), &area, &request(), PATIENT);
    assert!(matches!(refused, Err(UnwrapError::Helper(HelperError::Start(_)))));
}

#[test]
fn only_its_own_name_makes_a_process_the_helper() {
    assert!(is_unwrap_helper(OsStr::new("envol-unwrap")));
    for other in ["envol", "/usr/bin/envol", "envol-unwrap2", ""] {
        assert!(!is_unwrap_helper(OsStr::new(other)), "{other}");
    }
}
