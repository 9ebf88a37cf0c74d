//! The volume service may use the key by its grant and by nothing else: with it everything works, without it or after it
//! nothing does. The local KMS enforces it as AWS does.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::time::Duration;

use harness::{Host, Ran, ran, wait_until};
use serde_json::Value;

/// May use no key by itself.
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";
const AS_GRANTEE: [&str; 2] = ["--kms-profile", "envol-volume"];
const WITH_GRANT: [&str; 6] = ["--size", "16MiB", "--grantee", GRANTEE, "--kms-profile", "envol-volume"];

/// From the revocation until `status` says terminal: one probe, its confirmation, and a busy machine.
const TERMINAL_DEADLINE: Duration = Duration::from_secs(20);

fn attach(host: &Host, volume: &str) -> Ran {
    let quickly = ["--probe-interval", "1s", "--confirm-denial", "500ms"];
    host.envol(&[&["attach", volume, "--raw"], &AS_GRANTEE[..], &quickly].concat())
}

fn grant_id(host: &Host, volume: &str) -> String {
    host.status(volume)["grant_id"].as_str().unwrap().to_owned()
}

/// The grants of the key, as its owner sees them.
fn grants(host: &Host) -> Vec<Value> {
    let listed = host.aws(&["list-grants", "--key-id", &host.key_id(), "--output", "json"]).expect_code(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    listed["Grants"].as_array().unwrap().clone()
}

fn revoke(host: &Host, grant: &str) {
    host.aws(&["revoke-grant", "--key-id", &host.key_id(), "--grant-id", grant]).expect_code(0);
}

fn is_granted(host: &Host, grant: &str) -> bool {
    grants(host).iter().any(|found| found["GrantId"] == grant)
}

/// Waits for an answer to a probe that began after now.
fn wait_for_verification(host: &Host, volume: &str) {
    let verified_at = || host.status(volume)["verified_at"].as_str().unwrap_or_default().to_owned();
    let before = verified_at();
    // Two, since the one under way may have been answered before whatever the test did last.
    wait_until("a probe", TERMINAL_DEADLINE, || verified_at() > before);
    let between = verified_at();
    wait_until("another probe", TERMINAL_DEADLINE, || verified_at() > between);
}

#[test]
fn without_a_grant_the_volume_service_is_refused_and_nothing_is_made() {
    let host = Host::new();
    let key = host.key_id();
    let create = ["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/test", "--id", "vol-ungranted"];
    let refused = host.envol(&[&create[..], &AS_GRANTEE].concat()).expect_code(4);
    let refused = refused.expect_stderr("kms:Decrypt").expect_stderr(&key).expect_stderr("profile `envol-volume`");
    refused.expect_stderr("docs/aws.md");
    host.envol(&["status", "vol-ungranted"]).expect_code(3);
    assert!(grants(&host).is_empty());
    host.create(&WITH_GRANT);
}

#[test]
fn with_a_grant_the_volume_is_made_attached_probed_and_detached() {
    let host = Host::new();
    let volume = host.create(&WITH_GRANT);
    let [grant] = &grants(&host)[..] else { panic!("one grant") };
    assert_eq!(grant["GrantId"], grant_id(&host, &volume));
    assert_eq!(grant["GranteePrincipal"], GRANTEE);
    assert_eq!(grant["Name"], volume);
    let context = &grant["Constraints"]["EncryptionContextSubset"];
    assert_eq!((&context["aws:ebs:id"], &context["aws:rds:db-id"]), (&volume.as_str().into(), &"db-TEST".into()));
    attach(&host, &volume).expect_code(0);
    wait_for_verification(&host, &volume);
    host.envol(&["detach", &volume]).expect_code(0);
    // The grant is one for this volume's context: another volume's key is not opened by it.
    let other = host.create(&["--size", "16MiB"]);
    attach(&host, &other).expect_code(4).expect_stderr("kms:Decrypt");
    host.envol(&["attach", &other, "--raw"]).expect_code(0);
    attach(&host, &volume).expect_code(0);
}

#[test]
fn who_may_not_make_a_grant_is_told_so_before_anything_is_made() {
    let host = Host::new();
    let create = ["create", "--db-id", "db-A", "--kms-key", &host.key_id(), "--id", "vol-A"];
    let arguments = [&["--root", host.root().to_str().unwrap()], &create[..], &WITH_GRANT].concat();
    let mut as_grantee = host.command(harness::ENVOL);
    let refused = ran(&as_grantee.env("AWS_PROFILE", "envol-volume").args(&arguments).output().unwrap());
    let refused = refused.expect_code(4).expect_stderr("whoever runs `envol create`").expect_stderr("kms:");
    assert!(refused.stderr.contains("Nothing was changed"), "{}", refused.stderr);
    assert!(grants(&host).is_empty());
    let mut as_admin = host.command(harness::ENVOL);
    ran(&as_admin.args(&arguments).output().unwrap()).expect_code(0);
}

#[test]
fn a_revoked_grant_ends_the_volume_and_names_itself_and_another_volume_goes_on() {
    let host = Host::new();
    let (volume, other) = (host.create(&WITH_GRANT), host.create(&WITH_GRANT));
    for volume in [&volume, &other] {
        attach(&host, volume).expect_code(0);
    }
    let grant = grant_id(&host, &volume);
    revoke(&host, &grant);
    wait_until("terminal", TERMINAL_DEADLINE, || host.status(&volume)["state"] == "terminal");
    let status = host.status(&volume);
    assert_eq!(status["cause"], "access-denied");
    assert!(status["detail"].as_str().unwrap().contains(&grant), "{status}");
    attach(&host, &volume).expect_code(6);
    wait_for_verification(&host, &other);
    assert_eq!(host.status(&other)["state"], "in-use");
}

#[test]
fn a_grant_revoked_while_detached_refuses_attach_until_there_is_another() {
    let host = Host::new();
    let volume = host.create(&WITH_GRANT);
    attach(&host, &volume).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    let grant = grant_id(&host, &volume);
    revoke(&host, &grant);
    attach(&host, &volume).expect_code(4).expect_stderr("kms:Decrypt").expect_stderr(&grant);
    assert_eq!(host.status(&volume)["state"], "available", "only a volume that is served becomes terminal");
    // Not the same grant, and not its token: what the owner allows now decides.
    let key = host.key_id();
    let again = ["create-grant", "--key-id", &key, "--grantee-principal", GRANTEE, "--operations", "Decrypt"];
    host.aws(&again).expect_code(0);
    attach(&host, &volume).expect_code(0);
}

#[test]
fn the_grantee_that_deletes_retires_and_the_owner_is_told_how_to_revoke() {
    let host = Host::new();
    let (mine, theirs) = (host.create(&WITH_GRANT), host.create(&WITH_GRANT));
    let (retired, standing) = (grant_id(&host, &mine), grant_id(&host, &theirs));
    let mut delete = host.command(harness::ENVOL);
    delete.env("AWS_PROFILE", "envol-volume").arg("--root").arg(host.root()).args(["delete", &mine, "--yes"]);
    let deleted = ran(&delete.output().unwrap()).expect_code(0);
    assert!(!deleted.stderr.contains("revoke-grant"), "{}", deleted.stderr);
    assert!(!is_granted(&host, &retired));
    assert!(is_granted(&host, &standing));

    // Whether the owner's own credentials may retire it is the policy's business; if not, the command that is named works.
    let deleted = host.envol(&["delete", &theirs, "--yes"]).expect_code(0);
    if let Some((_, command)) = deleted.stderr.trim_end().split_once("aws kms ") {
        host.aws(&command.split(' ').collect::<Vec<_>>()).expect_code(0);
    }
    assert!(!is_granted(&host, &standing));
    host.envol(&["status", &theirs]).expect_code(3);
}
