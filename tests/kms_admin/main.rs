//! `envol kms principal`, `simulate` and `fault`: what they say is what the server then does, whether it runs or not.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

#[path = "../harness/mod.rs"]
mod harness;

mod faults;
mod principals;
mod simulation;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use harness::{Host, Ran, ran, wait_until};
use serde_json::{Value, json};

const CALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kms_call.py");
const ADMIN: &str = "envol-admin";
/// For what happens by itself after some seconds, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// One call through boto3: `code` is empty if it succeeded.
fn call(host: &Host, profile: &str, method: &str, parameters: &Value) -> Value {
    let mut command = host.command("python3");
    let output = command.arg(CALL).args([profile, method, &parameters.to_string()]).output().expect("python3");
    let ran = ran(&output).expect_code(0);
    serde_json::from_str(&ran.stdout).expect("one JSON object")
}

fn code(host: &Host, profile: &str, method: &str, parameters: &Value) -> String {
    call(host, profile, method, parameters)["code"].as_str().unwrap().to_owned()
}

/// `aws kms …` with a profile, as a person types it.
fn aws(host: &Host, profile: &str, arguments: &[&str]) -> Ran {
    host.aws(&[arguments, &["--profile", profile]].concat())
}

/// `envol kms …`
fn kms(host: &Host, arguments: &[&str]) -> Ran {
    host.envol(&[&["kms"], arguments].concat())
}

fn json(host: &Host, arguments: &[&str]) -> Value {
    host.json(&[&["kms"], arguments].concat())
}

fn write(host: &Host, name: &str, text: &str) -> String {
    let path = host.root().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn identity_policy(host: &Host, name: &str, actions: &[&str]) -> String {
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    write(host, name, &json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string())
}

/// The default key policy, and `statements`.
fn put_key_policy(host: &Host, statements: &[Value]) {
    let mut all = vec![json!({
        "Sid": "Leave it to IAM", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
        "Action": "kms:*", "Resource": "*"
    })];
    all.extend(statements.iter().cloned());
    let policy = json!({ "Version": "2012-10-17", "Statement": all }).to_string();
    host.aws(&["put-key-policy", "--key-id", &host.key_id(), "--policy", &policy]).expect_code(0);
}

fn socket(host: &Host) -> PathBuf {
    host.root().join("kms/admin.sock")
}

/// What a call may be made with: a ciphertext under `alias/test`, made by the administrator.
fn sealed(host: &Host, context: &Value) -> Value {
    let parameters = json!({ "KeyId": "alias/test", "NumberOfBytes": 64, "EncryptionContext": context });
    let answer = call(host, ADMIN, "generate_data_key_without_plaintext", &parameters);
    json!({ "CiphertextBlob": answer["answer"]["CiphertextBlob"], "EncryptionContext": context })
}

fn policy_names(host: &Host, principal: &str) -> Option<Value> {
    let listed = json(host, &["principal", "list"]);
    let principals = listed["principals"].as_array().unwrap().clone();
    principals.into_iter().find(|entry| entry["principal"] == principal).map(|entry| entry["policies"].clone())
}
