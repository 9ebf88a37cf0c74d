//! The operations on a state of their own, under a clock the test moves.

mod aliases;
mod audit_log;
mod ciphertexts;
mod first_version;
mod grant_limits;
mod grant_lists;
mod grants;
mod grants_end;
mod imports;
mod imports_of_more_material;
mod key_descriptions;
mod key_policies;
mod key_states;
mod keys;
mod last_usage;
mod managed_keys;
mod policies;
mod policy_callers;
mod policy_conditions;
mod principals;
mod propagation;
mod rotation;
mod rotation_lists;
mod tags;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::call;
use crate::audit::Origin;
use crate::clock::Clock;
use crate::kms::Kms;
use crate::principals::Caller;
use crate::{InitOptions, init};

const START: &str = "2026-11-22T01:03:44Z";
/// The same as responses write it.
const START_S: f64 = 1_795_309_424.0;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const DAY_S: f64 = 86_400.0;

struct Fixture {
    kms: Kms,
    now_ms: Arc<AtomicI64>,
    dir: TempDir,
}

/// Code and message of a refusal.
type Refusal = (&'static str, String);

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        init(dir.path(), &InitOptions::default()).unwrap();
        let now_ms = Arc::new(AtomicI64::new(START.parse::<Timestamp>().unwrap().as_millisecond()));
        let kms = Kms::open(dir.path(), clock(&now_ms)).unwrap();
        Self { kms, now_ms, dir }
    }

    fn reopened(self) -> Self {
        let Self { kms, now_ms, dir } = self;
        drop(kms);
        Self { kms: Kms::open(dir.path(), clock(&now_ms)).unwrap(), now_ms, dir }
    }

    fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn origin<'a>(&self, caller: &'a Caller) -> Origin<'a> {
        Origin {
            caller,
            source_ip: "127.0.0.1".into(),
            user_agent: Some("test".into()),
            request_id: "request".into(),
            received: self.kms.clock.unmoved(),
            region: "us-east-1",
        }
    }

    fn raw_as(&self, who: &str, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
        self.raw_by(&self.kms.caller_named(who), operation, body)
    }

    fn raw_by(&self, caller: &Caller, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
        match call(&self.kms, &self.origin(caller), operation, body) {
            Ok(body) => Ok(serde_json::from_slice(&body).unwrap()),
            Err(error) => Err((error.code(), error.to_string())),
        }
    }

    fn raw(&self, operation: &str, body: &[u8]) -> Result<Value, Refusal> {
        self.raw_as("envol-admin", operation, body)
    }

    fn call_as(&self, who: &str, operation: &str, request: &Value) -> Result<Value, Refusal> {
        self.raw_as(who, operation, request.to_string().as_bytes())
    }

    fn call(&self, operation: &str, request: &Value) -> Result<Value, Refusal> {
        self.raw(operation, request.to_string().as_bytes())
    }

    fn ok(&self, operation: &str, request: &Value) -> Value {
        self.call(operation, request).unwrap_or_else(|refusal| panic!("{operation} {request}: {refusal:?}"))
    }

    /// The code of the refusal that must come.
    fn code(&self, operation: &str, request: &Value) -> &'static str {
        match self.call(operation, request) {
            Err((code, _)) => code,
            Ok(answer) => panic!("{operation} {request} was answered: {answer}"),
        }
    }

    fn create_key(&self) -> String {
        text(&self.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"])
    }

    fn encrypt(&self, key: &str, context: &Value) -> Value {
        let request = json!({ "KeyId": key, "Plaintext": STANDARD.encode("secret"), "EncryptionContext": context });
        self.ok("Encrypt", &request)["CiphertextBlob"].clone()
    }

    fn state(&self, key: &str) -> String {
        text(&self.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"]["KeyState"])
    }

    fn arn(key: &str) -> String {
        format!("arn:aws:kms:us-east-1:111122223333:key/{key}")
    }

    fn audit_text(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap()
    }

    fn records(&self) -> Vec<Value> {
        self.audit_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn last_record(&self) -> Value {
        self.records().pop().unwrap()
    }
}

fn clock(now_ms: &Arc<AtomicI64>) -> Clock {
    let now_ms = Arc::clone(now_ms);
    Clock::from_fn(move || Timestamp::from_millisecond(now_ms.load(Ordering::SeqCst)).unwrap())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn an_operation_that_is_not_here_is_unknown() {
    let fixture = Fixture::new();
    for operation in ["Sign", "GetPublicKey", "describekey", ""] {
        assert_eq!(fixture.code(operation, &json!({})), "UnknownOperationException", "{operation}");
    }
}

#[test]
fn what_is_not_a_request_is_a_serialization_error_without_an_echo() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    for body in ["", "{", "[]", "null", r#"{"KeyId":1}"#, r#"{"KeyId":"a","Plaintext":"c2VjcmV0!"}"#] {
        let refusal = fixture.raw("Encrypt", body.as_bytes()).unwrap_err();
        assert_eq!(refusal, ("SerializationException", String::new()), "{body}");
    }
    let request = json!({ "KeyId": key, "Plaintext": "c2VjcmV0", "MemberOfTheFuture": 1 });
    fixture.ok("Encrypt", &request);
}
