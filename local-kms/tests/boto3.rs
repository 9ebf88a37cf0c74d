//! A session of boto3, AWS's SDK for Python: `boto3_session.py`, before and after a restart.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod support;

use std::path::Path;

use local_kms::{InitOptions, init};
use support::{Server, aws_client};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boto3_session.py");

fn run(dir: &Path, server: &Server, part: &str) {
    let mut command = aws_client("python3", dir, server);
    let output = command.arg(SCRIPT).arg(part).arg(dir.join("session.json")).output();
    let output = output.expect("python3 does not run; install it, and then boto3: pip install boto3");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(!printed.contains("No module named 'boto3'"), "boto3 is missing; install it: pip install boto3");
    assert!(output.status.success(), "{part}:\n{printed}");
}

#[test]
fn a_session_of_boto3() {
    let dir = TempDir::new().unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    let server = Server::start(dir.path());
    run(dir.path(), &server, "before-restart");
    server.stop().unwrap();
    let server = Server::start(dir.path());
    run(dir.path(), &server, "after-restart");
}
