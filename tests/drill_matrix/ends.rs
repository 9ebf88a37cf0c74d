//! What the owner of a key does that ends the volume, for good.

use serde_json::json;

use super::GRANTEE;
use super::drill::Drill;
use super::served::Served;

/// One row: ends the volume for this cause; and undone, it helps others and not this volume.
struct Revocation<'a> {
    done: &'a dyn Fn(&Drill),
    cause: &'a str,
    undone: &'a dyn Fn(&Drill),
}

impl Revocation<'_> {
    #[track_caller]
    fn ends(&self, drill: &Drill) {
        drill.wait_for_two_probes();
        drill.assert_served();
        (self.done)(drill);
        drill.wait_for_terminal(self.cause);
        (self.undone)(drill);
        drill.assert_other_can_be_served();
        drill.assert_terminal();
    }
}

fn enable(drill: &Drill) {
    drill.aws(&["enable-key", "--key-id", &drill.key]);
}

fn grant_again(drill: &Drill) {
    let operations = ["--operations", "Decrypt", "DescribeKey"];
    drill.aws(&[&["create-grant", "--key-id", &drill.key, "--grantee-principal", GRANTEE], &operations[..]].concat());
}

#[test]
fn a_disabled_key() {
    let row = Revocation { done: &Drill::disable_key, cause: "key-disabled", undone: &enable };
    row.ends(&Drill::new());
}

#[test]
fn a_key_scheduled_for_deletion_and_to_cancel_it_is_not_to_enable_it() {
    let schedule = |drill: &Drill| {
        drill.aws(&["schedule-key-deletion", "--key-id", &drill.key, "--pending-window-in-days", "7"]);
    };
    let cancel = |drill: &Drill| {
        drill.assert_other_is_refused();
        drill.aws(&["cancel-key-deletion", "--key-id", &drill.key]);
        drill.assert_terminal();
        drill.assert_other_is_refused();
        enable(drill);
    };
    Revocation { done: &schedule, cause: "key-pending-deletion", undone: &cancel }.ends(&Drill::new());
}

#[test]
fn a_key_that_was_deleted_while_nobody_could_ask() {
    let drill = Drill::new();
    drill.fault(&["outage", "--operation", "Decrypt"]);
    drill.wait_for_unverified("503");
    drill.aws(&["schedule-key-deletion", "--key-id", &drill.key, "--pending-window-in-days", "7"]);
    drill.fault(&["clock", "--advance", "8d"]);
    let gone = drill.host.aws(&["describe-key", "--key-id", &drill.key]);
    assert_ne!(gone.code, 0);
    gone.expect_stderr("NotFoundException");
    drill.assert_served();
    drill.fault(&["clear"]);
    drill.wait_for_terminal("key-not-found");
    // There is nothing to undo: nobody has the key.
    drill.assert_other_is_refused();
}

#[test]
fn a_revoked_grant() {
    let revoke = |drill: &Drill| {
        let grant = drill.grant_id();
        drill.aws(&["revoke-grant", "--key-id", &drill.key, "--grant-id", &grant]);
    };
    Revocation { done: &revoke, cause: "access-denied", undone: &grant_again }.ends(&Drill::new());
}

#[test]
fn a_grant_that_its_grantee_retired() {
    let retire = |drill: &Drill| {
        let arn = ["describe-key", "--key-id", &drill.key, "--query", "KeyMetadata.Arn", "--output", "text"];
        let (arn, grant) = (drill.aws(&arn), drill.grant_id());
        drill.aws(&["retire-grant", "--key-id", &arn, "--grant-id", &grant, "--profile", "envol-volume"]);
    };
    Revocation { done: &retire, cause: "access-denied", undone: &grant_again }.ends(&Drill::new());
}

#[test]
fn a_key_policy_that_denies_the_grantee() {
    let deny = |drill: &Drill| {
        drill.put_key_policy(&[json!({
            "Sid": "Revoked", "Effect": "Deny", "Principal": { "AWS": GRANTEE }, "Action": "kms:Decrypt", "Resource": "*"
        })]);
        drill.assert_other_is_refused();
    };
    let allow = |drill: &Drill| drill.put_key_policy(&[]);
    Revocation { done: &deny, cause: "access-denied", undone: &allow }.ends(&Drill::new());
}
