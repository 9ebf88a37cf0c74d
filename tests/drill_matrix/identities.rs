//! KMS that does not accept who asks has not been asked about the key.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::drill::Drill;
use super::harness::{Host, ran};
use super::served::{Served, Trouble};
use super::unaffected::unaffected;

const ROLE: &str = "arn:aws:iam::111122223333:role/drill";

fn credentials_file(host: &Host) -> PathBuf {
    let (_, path) = host.environment().iter().find(|(name, _)| name == "AWS_SHARED_CREDENTIALS_FILE").unwrap();
    path.into()
}

/// The daemon reads its profile again with the next connection, and makes one after a probe that failed.
fn change_credentials(drill: &Drill, change: impl FnOnce(String) -> String) {
    drill.fault(&["outage", "--operation", "Decrypt"]);
    drill.wait_for_unverified("503");
    let file = credentials_file(&drill.host);
    fs::write(&file, change(fs::read_to_string(&file).unwrap())).unwrap();
    drill.fault(&["clear"]);
}

#[test]
fn the_signature_is_wrong() {
    let drill = Drill::new();
    let right = fs::read_to_string(credentials_file(&drill.host)).unwrap();
    let (before, own) = right.split_once("[envol-volume]").unwrap();
    let (access_key, rest) = own.split_once("aws_secret_access_key").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap_or_default();
    let wrong = format!("{before}[envol-volume]{access_key}aws_secret_access_key = wrong\n{rest}");
    let begins = |drill: &Drill| change_credentials(drill, |_| wrong.clone());
    let ends = |drill: &Drill| change_credentials(drill, |_| right.clone());
    Trouble { begins: &begins, error: "InvalidSignatureException", ends: &ends }.is_ridden_through_by(&drill);
}

#[test]
fn the_user_was_deleted_and_is_made_again() {
    let principal = |drill: &Drill, verb: &str| {
        drill.host.envol(&["kms", "principal", verb, "envol-volume"]).expect_code(0);
    };
    let (begins, ends) = (|drill: &Drill| principal(drill, "delete"), |drill: &Drill| principal(drill, "create"));
    Trouble { begins: &begins, error: "UnrecognizedClientException", ends: &ends }.is_ridden_through_by(&Drill::new());
}

/// The SDK signs again by the clock of who refused it, so that not even this is an outage.
#[test]
fn the_clock_of_kms_is_an_hour_ahead() {
    let restart = |drill: &Drill, ahead: &str| {
        drill.host.stop_kms();
        drill.host.start_kms_at(ahead);
    };
    unaffected(&Drill::new(), |drill| {
        restart(drill, "+1h");
        let refused = drill.host.aws(&["describe-key", "--key-id", &drill.key]);
        assert_ne!(refused.code, 0, "the control: it is too much for who signs by their own clock");
        refused.expect_stderr("InvalidSignatureException");
        drill.wait_for_two_probes();
        drill.assert_served();
        restart(drill, "+0");
    });
}

/// A session of the shortest kind there is, begun so long `ago`, as the profile `session`.
fn begin_session(host: &Host, ago: &str) {
    host.stop_kms();
    host.start_kms_at(ago);
    let mut aws = host.command("aws");
    aws.args(["sts", "assume-role", "--role-arn", ROLE, "--role-session-name", "drill", "--duration-seconds", "900"]);
    let session = ran(&Host::at(&mut aws, ago).args(["--output", "json"]).output().unwrap()).expect_code(0).stdout;
    let session: Value = serde_json::from_str(&session).unwrap();
    let of_session = |name: &str| session["Credentials"][name].as_str().unwrap().to_owned();
    let file = credentials_file(host);
    let others = fs::read_to_string(&file).unwrap();
    let (others, _) = others.split_once("[session]").unwrap_or((&others, ""));
    let profile = format!(
        "{others}[session]\naws_access_key_id = {}\naws_secret_access_key = {}\naws_session_token = {}\n",
        of_session("AccessKeyId"),
        of_session("SecretAccessKey"),
        of_session("SessionToken"),
    );
    fs::write(&file, profile).unwrap();
    host.stop_kms();
    host.start_kms();
}

#[test]
fn the_session_of_the_role_has_run_out() {
    let host = Host::new();
    host.envol(&["kms", "principal", "create", "role/drill", "--trusts", "envol-admin"]).expect_code(0);
    begin_session(&host, "-855");
    let drill = Drill::of(host, ROLE, "session");
    // Three quarters of a minute are left of it.
    let begins = |drill: &Drill| drill.wait_for_two_probes();
    let ends = |drill: &Drill| begin_session(&drill.host, "+0");
    Trouble { begins: &begins, error: "ExpiredTokenException", ends: &ends }.is_ridden_through_by(&drill);
}
