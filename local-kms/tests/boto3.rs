//! boto3, AWS's SDK for Python, unmodified: the scripts beside this file, each with a server of its own.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod support;

use std::path::Path;

use local_kms::admin::{self, Request};
use local_kms::{InitOptions, init};
use support::{Server, aws_client};
use tempfile::TempDir;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

fn run(script: &str, dir: &Path, server: &Server, arguments: &[&str]) {
    let mut command = aws_client("python3", dir, server);
    // It leaves nothing beside the scripts.
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(format!("{SCRIPTS}/{script}")).args(arguments);
    let output = command.output().expect("python3 does not run; install it, and then boto3: pip install boto3");
    let printed = String::from_utf8_lossy(&output.stderr);
    for module in ["boto3", "cryptography"] {
        let missing = printed.contains(&format!("No module named '{module}'"));
        assert!(!missing, "{module} is missing; install it: pip install {module}");
    }
    assert!(output.status.success(), "{script} {}:\n{printed}", arguments.join(" "));
}

/// With the principals that the scripts speak of.
fn run_with_principals(script: &str) {
    let directory = TempDir::new().unwrap();
    let dir = directory.path();
    init(dir, &InitOptions::default()).unwrap();
    let server = Server::start(dir);
    for (name, acting_for, trusts) in [
        ("alice", None, vec![]),
        ("bob", None, vec![]),
        ("carol", None, vec![]),
        ("role/app", None, vec!["alice".to_owned()]),
        ("role/reader", None, vec!["alice".to_owned()]),
        ("rds.us-east-1.amazonaws.com", Some("alice".to_owned()), vec![]),
    ] {
        let name = name.to_owned();
        admin::request(dir, &Request::CreatePrincipal { name, acting_for, trusts, trust_policy: None }).unwrap();
    }
    for (principal, action) in [("bob", "kms:Decrypt"), ("role/reader", "kms:*")] {
        let statement = serde_json::json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
        let document = serde_json::json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let (principal, policy_name) = (principal.to_owned(), "keys".to_owned());
        let attach = Request::AttachPolicy { principal, policy_name, document: Some(document) };
        admin::request(dir, &attach).unwrap();
    }
    run(script, dir, &server, &[]);
}

#[test]
fn a_session_of_boto3() {
    let directory = TempDir::new().unwrap();
    let dir = directory.path();
    init(dir, &InitOptions::default()).unwrap();
    let session = dir.join("session.json");
    let session = session.to_str().unwrap();
    let server = Server::start(dir);
    run("boto3_session.py", dir, &server, &["before-restart", session]);
    server.stop().unwrap();
    let server = Server::start(dir);
    run("boto3_session.py", dir, &server, &["after-restart", session]);
}

#[test]
fn every_operation_answers_as_botocore_models_it() {
    run_with_principals("boto3_operations.py");
}

#[test]
fn policies_decide_who_may() {
    run_with_principals("boto3_policies.py");
}

#[test]
fn a_grant_gives_what_it_says_to_whom_it_says_until_it_ends() {
    run_with_principals("boto3_grants.py");
}

#[test]
fn a_role_is_used_in_sessions_only() {
    run_with_principals("boto3_sessions.py");
}

#[test]
fn rotation_and_imported_material_keep_what_was_encrypted_readable() {
    run_with_principals("boto3_rotation_and_import.py");
}
