//! Key policies as AWS documents them for RDS, with volumes: a key that may be used through the service only, and a key
//! policy that tells databases apart.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::time::Duration;

use harness::{Host, Ran, ran, wait_until};
use serde_json::{Value, json};

const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
/// What RDS needs of a key, as its documentation lists it.
const USE: [&str; 4] = ["kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey", "kms:CreateGrant"];
/// From the revocation until `status` says terminal: one probe, its confirmation, and a busy machine.
const TERMINAL_DEADLINE: Duration = Duration::from_secs(20);

/// alice has no policies; `rds-for-alice` is the profile of a volume service that acts for her.
fn host_with_alice() -> Host {
    let host = Host::new();
    host.envol(&["kms", "principal", "create", "alice"]).expect_code(0);
    let service = ["kms", "principal", "create", "rds.us-east-1.amazonaws.com", "--acting-for", "alice"];
    host.envol(&service).expect_code(0);
    host
}

/// IAM decides, and the statements besides.
fn put_key_policy(host: &Host, statements: &[Value]) {
    let mut all = vec![json!({
        "Sid": "IAM", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
        "Action": "kms:*", "Resource": "*"
    })];
    all.extend(statements.iter().cloned());
    let policy = json!({ "Version": "2012-10-17", "Statement": all }).to_string();
    host.aws(&["put-key-policy", "--key-id", &host.key_id(), "--policy", &policy]).expect_code(0);
}

fn alice_may(actions: &[&str], condition: &Value) -> Value {
    json!({
        "Sid": "Alice", "Effect": "Allow", "Principal": { "AWS": ALICE }, "Action": actions, "Resource": "*",
        "Condition": condition
    })
}

/// alice may use the key through this service only.
fn allow_through(host: &Host, service: &str) {
    put_key_policy(host, &[alice_may(&USE, &json!({ "StringEquals": { "kms:ViaService": service } }))]);
}

/// alice may use the key for this database only; to look at a key takes no encryption context.
fn allow_database(host: &Host, db_id: &str) {
    let of_database = json!({ "StringEquals": { "kms:EncryptionContext:aws:rds:db-id": db_id } });
    put_key_policy(host, &[alice_may(&USE, &of_database), alice_may(&["kms:DescribeKey"], &json!({}))]);
}

fn envol_as(host: &Host, profile: &str, arguments: &[&str]) -> Ran {
    let mut command = host.command(harness::ENVOL);
    command.env("AWS_PROFILE", profile).arg("--root").arg(host.root()).args(arguments);
    ran(&command.output().unwrap())
}

fn create_as(host: &Host, profile: &str, db_id: &str) -> Ran {
    let key = host.key_id();
    envol_as(
        host,
        profile,
        &["create", "--db-id", db_id, "--size", "16MiB", "--kms-key", &key, "--kms-profile", profile],
    )
}

fn attach(host: &Host, volume: &str, profile: &str) -> Ran {
    let quickly = ["--probe-interval", "1s", "--confirm-denial", "500ms"];
    host.envol(&[&["attach", volume, "--raw", "--kms-profile", profile], &quickly[..]].concat())
}

fn id(created: Ran) -> String {
    created.expect_code(0).stdout.trim().to_owned()
}

#[test]
fn a_key_for_use_through_rds_is_refused_to_its_user_and_serves_the_volume_service_that_acts_for_them() {
    let host = host_with_alice();
    create_as(&host, "rds-for-alice", "db-A").expect_code(4).expect_stderr("kms:");
    allow_through(&host, "rds.us-east-1.amazonaws.com");

    create_as(&host, "alice", "db-A").expect_code(4).expect_stderr("kms:").expect_stderr(ALICE);
    let volume = id(create_as(&host, "rds-for-alice", "db-A"));
    let refused = attach(&host, &volume, "alice").expect_code(4);
    refused.expect_stderr("kms:Decrypt").expect_stderr("profile `alice`");
    assert_eq!(host.status(&volume)["state"], "available");
    attach(&host, &volume, "rds-for-alice").expect_code(0);
    assert_eq!(host.status(&volume)["state"], "in-use");

    // So with the AWS CLI: refused directly.
    let data_key = ["generate-data-key-without-plaintext", "--key-id", &host.key_id(), "--number-of-bytes", "64"];
    let refused = host.aws(&[&data_key[..], &["--profile", "alice"]].concat());
    assert_ne!(refused.code, 0);
    refused.expect_stderr("(AccessDeniedException)");
    host.aws(&[&data_key[..], &["--profile", "rds-for-alice"]].concat()).expect_code(0);

    // The service of another name is another service; a volume that is served loses its key by the policy alone.
    allow_through(&host, "ec2.us-east-1.amazonaws.com");
    wait_until("terminal", TERMINAL_DEADLINE, || host.status(&volume)["state"] == "terminal");
    assert_eq!(host.status(&volume)["cause"], "access-denied");
}

#[test]
fn a_volume_service_gets_its_grant_from_a_user_who_may_only_through_rds() {
    let host = host_with_alice();
    allow_through(&host, "rds.us-east-1.amazonaws.com");
    let key = host.key_id();
    let grantee = "arn:aws:iam::111122223333:user/envol-volume";
    let create = ["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", &key, "--grantee", grantee];
    let create = [&create[..], &["--kms-profile", "envol-volume"]].concat();
    envol_as(&host, "alice", &create).expect_code(4).expect_stderr("kms:");
    let volume = id(envol_as(&host, "rds-for-alice", &create));
    // What she may does not decide any more: the grant does.
    allow_through(&host, "ec2.us-east-1.amazonaws.com");
    envol_as(&host, "rds-for-alice", &create).expect_code(4);
    attach(&host, &volume, "rds-for-alice").expect_code(4);
    attach(&host, &volume, "envol-volume").expect_code(0);
}

#[test]
fn a_key_policy_tells_one_database_from_another() {
    let host = host_with_alice();
    let (of_a, of_b) = (id(create_as(&host, "envol-admin", "db-A")), id(create_as(&host, "envol-admin", "db-B")));
    for volume in [&of_a, &of_b] {
        attach(&host, volume, "alice").expect_code(4).expect_stderr("kms:Decrypt");
    }
    allow_database(&host, "db-A");
    attach(&host, &of_a, "alice").expect_code(0);
    attach(&host, &of_b, "alice").expect_code(4).expect_stderr("kms:Decrypt").expect_stderr("profile `alice`");
    assert_eq!(host.status(&of_b)["state"], "available");
    id(create_as(&host, "alice", "db-A"));
    create_as(&host, "alice", "db-B").expect_code(4).expect_stderr("kms:GenerateDataKeyWithoutPlaintext");

    // With the other database named, the other volume; and the one that is served is revoked.
    allow_database(&host, "db-B");
    attach(&host, &of_b, "alice").expect_code(0);
    wait_until("terminal", TERMINAL_DEADLINE, || host.status(&of_a)["state"] == "terminal");
    assert_eq!(host.status(&of_b)["state"], "in-use");
}

#[test]
fn no_policy_makes_a_disabled_key_usable() {
    let host = host_with_alice();
    allow_database(&host, "db-A");
    let (served, detached) = (id(create_as(&host, "alice", "db-A")), id(create_as(&host, "alice", "db-A")));
    attach(&host, &served, "alice").expect_code(0);
    host.disable_key();
    wait_until("terminal", TERMINAL_DEADLINE, || host.status(&served)["state"] == "terminal");
    assert_eq!(host.status(&served)["cause"], "key-disabled");
    for profile in ["alice", "envol-admin"] {
        attach(&host, &detached, profile).expect_code(4).expect_stderr("disabled");
    }
    // Who may not is told so, and not whether the key works.
    allow_database(&host, "db-C");
    attach(&host, &detached, "alice").expect_code(4).expect_stderr("kms:Decrypt");
    host.enable_key();
    attach(&host, &detached, "alice").expect_code(4).expect_stderr("kms:Decrypt");
    attach(&host, &detached, "envol-admin").expect_code(0);
}
