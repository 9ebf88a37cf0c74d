//! How grants end: retired by whom they name, revoked by whoever manages the key, or gone with the key.

use serde_json::{Value, json};

use super::principals::{ALICE, ROOT, identity, says};
use super::{DAY_MS, Fixture};

const VOLUME: &str = "arn:aws:iam::111122223333:user/envol-volume";

/// A grant to the volume service that `retiring` may retire, as `{KeyId, GrantId}`, and its token.
fn grant(fixture: &Fixture, key: &str, retiring: Option<&str>, operations: &[&str]) -> (Value, Value) {
    let request = json!({
        "KeyId": key, "GranteePrincipal": VOLUME, "Operations": operations, "RetiringPrincipal": retiring,
    });
    let made = fixture.ok("CreateGrant", &request);
    (json!({ "KeyId": Fixture::arn(key), "GrantId": made["GrantId"] }), json!({ "GrantToken": made["GrantToken"] }))
}

fn describes(fixture: &Fixture, key: &str) -> bool {
    fixture.may("envol-volume", "DescribeKey", &json!({ "KeyId": key }))
}

#[test]
fn the_retiring_principal_ends_a_grant_by_either_name() {
    let (fixture, key) = Fixture::with_alice();
    for by_token in [false, true] {
        let (named, token) = grant(&fixture, &key, Some(ALICE), &["DescribeKey"]);
        assert!(describes(&fixture, &key));
        let request = if by_token { token } else { named };
        assert!(fixture.may(ALICE, "RetireGrant", &request), "{request}");
        assert!(!describes(&fixture, &key));
        assert_eq!(fixture.call_as(ALICE, "RetireGrant", &request).unwrap_err().0, "NotFoundException");
    }
}

#[test]
fn nobody_else_retires_a_grant_whatever_policies_allow() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create("carol");
    fixture.create("root");
    fixture.attach("carol", &[identity("Allow", "kms:*")]);
    let (named, token) = grant(&fixture, &key, Some(ALICE), &["DescribeKey"]);
    for who in ["carol", "envol-admin", "envol-volume"] {
        for request in [&named, &token] {
            assert!(!fixture.may(who, "RetireGrant", request), "{who} {request}");
        }
    }
    assert!(describes(&fixture, &key));
    assert!(fixture.may("root", "RetireGrant", &named), "the account that issued it");
    assert!(!describes(&fixture, &key));
}

#[test]
fn the_grantee_retires_a_grant_that_says_so() {
    let (fixture, key) = Fixture::with_alice();
    let (with, _) = grant(&fixture, &key, None, &["DescribeKey", "RetireGrant"]);
    let (without, _) = grant(&fixture, &key, None, &["Decrypt"]);
    assert!(!fixture.may("envol-volume", "RetireGrant", &without));
    assert!(fixture.may("envol-volume", "RetireGrant", &with));
    assert!(!describes(&fixture, &key));
}

#[test]
fn a_service_retires_what_names_it_also_when_it_acts_for_somebody() {
    let (fixture, key) = Fixture::with_alice();
    let service = "rds.us-east-1.amazonaws.com";
    fixture.create(service);
    let (rds, ec2) = (fixture.create_acting("rds", "user/alice"), fixture.create_acting("ec2", "user/alice"));
    for who in [service, rds.as_str()] {
        let (named, _) = grant(&fixture, &key, Some(service), &["DescribeKey"]);
        assert!(!fixture.may(&ec2, "RetireGrant", &named));
        assert!(!fixture.may(ALICE, "RetireGrant", &named));
        assert!(fixture.may(who, "RetireGrant", &named), "{who}");
    }
}

#[test]
fn a_policy_can_deny_retirement() {
    let (fixture, key) = Fixture::with_alice();
    let (named, _) = grant(&fixture, &key, Some(ALICE), &["DescribeKey"]);
    fixture.attach(ALICE, &[identity("Deny", "kms:RetireGrant")]);
    assert!(!fixture.may(ALICE, "RetireGrant", &named));
    fixture.attach(ALICE, &[identity("Allow", "s3:*")]);
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*"), says("Deny", ALICE, "kms:RetireGrant")]);
    assert!(!fixture.may(ALICE, "RetireGrant", &named));
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*")]);
    assert!(fixture.may(ALICE, "RetireGrant", &named));
}

#[test]
fn a_grant_to_retire_is_named_in_one_way() {
    let (fixture, key) = Fixture::with_alice();
    let (named, token) = grant(&fixture, &key, Some(ALICE), &["DescribeKey"]);
    let both = json!({ "KeyId": named["KeyId"], "GrantId": named["GrantId"], "GrantToken": token["GrantToken"] });
    for (request, code) in [
        (json!({}), "ValidationException"),
        (both, "ValidationException"),
        (json!({ "KeyId": key }), "ValidationException"),
        (json!({ "KeyId": key, "GrantId": "short" }), "InvalidGrantIdException"),
        (json!({ "KeyId": key, "GrantId": "0".repeat(64) }), "NotFoundException"),
        (json!({ "GrantToken": "not-a-token" }), "InvalidGrantTokenException"),
    ] {
        assert_eq!(fixture.call_as(ALICE, "RetireGrant", &request).unwrap_err().0, code, "{request}");
    }
    assert!(fixture.may(ALICE, "RetireGrant", &token));
}

#[test]
fn who_manages_the_key_revokes_its_grants() {
    let (fixture, key) = Fixture::with_alice();
    let other = fixture.create_key();
    let (named, _) = grant(&fixture, &key, Some(ALICE), &["DescribeKey"]);
    assert!(!fixture.may(ALICE, "RevokeGrant", &named), "to retire is not to revoke");
    assert_eq!(
        fixture.code("RevokeGrant", &json!({ "KeyId": other, "GrantId": named["GrantId"] })),
        "NotFoundException"
    );
    assert_eq!(fixture.code("RevokeGrant", &json!({ "KeyId": key, "GrantId": "x" })), "InvalidGrantIdException");
    assert!(describes(&fixture, &key));
    fixture.ok("RevokeGrant", &named);
    assert!(!describes(&fixture, &key));
    assert_eq!(fixture.code("RevokeGrant", &named), "NotFoundException");
}

#[test]
fn a_dry_run_makes_and_ends_no_grant() {
    let (fixture, key) = Fixture::with_alice();
    let rehearsed = |who: &str, operation: &str, request: &Value| {
        let mut request = request.clone();
        request["DryRun"] = json!(true);
        fixture.call_as(who, operation, &request).unwrap_err().0
    };
    let create = json!({ "KeyId": key, "GranteePrincipal": VOLUME, "Operations": ["DescribeKey"] });
    assert_eq!(rehearsed("envol-admin", "CreateGrant", &create), "DryRunOperationException");
    assert_eq!(rehearsed(ALICE, "CreateGrant", &create), "AccessDeniedException");
    assert!(!describes(&fixture, &key));
    let (named, _) = grant(&fixture, &key, Some(ALICE), &["DescribeKey"]);
    assert_eq!(rehearsed("envol-admin", "RevokeGrant", &named), "DryRunOperationException");
    assert_eq!(rehearsed(ALICE, "RevokeGrant", &named), "AccessDeniedException");
    assert_eq!(rehearsed(ALICE, "RetireGrant", &named), "DryRunOperationException");
    assert_eq!(rehearsed("envol-admin", "RetireGrant", &named), "AccessDeniedException");
    assert!(describes(&fixture, &key));
}

#[test]
fn grants_go_with_their_key() {
    let (fixture, key) = Fixture::with_alice();
    let other = fixture.create_key();
    let (_, token) = grant(&fixture, &key, Some(ALICE), &["DescribeKey"]);
    let (kept, _) = grant(&fixture, &other, Some(ALICE), &["DescribeKey"]);
    let retirable = || {
        let grants = fixture.ok("ListRetirableGrants", &json!({ "RetiringPrincipal": ALICE }))["Grants"].clone();
        grants.as_array().unwrap().iter().map(|grant| grant["GrantId"].clone()).collect::<Vec<_>>()
    };
    fixture.ok("ScheduleKeyDeletion", &json!({ "KeyId": key, "PendingWindowInDays": 7 }));
    assert_eq!(retirable().len(), 2);
    fixture.pass_ms(7 * DAY_MS);
    assert_eq!(retirable(), [kept["GrantId"].clone()]);
    assert_eq!(fixture.call_as(ALICE, "RetireGrant", &token).unwrap_err().0, "NotFoundException");
    assert!(describes(&fixture, &other));
}
