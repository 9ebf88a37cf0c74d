//! Putting and getting key policies.

use serde_json::{Value, json};

use super::principals::{ALICE, ROOT, document, says, says_if};
use super::{Fixture, text};

const ADMIN: &str = "arn:aws:iam::111122223333:user/envol-admin";

fn put(fixture: &Fixture, key: &str, policy: &str) -> Result<Value, super::Refusal> {
    fixture.call("PutKeyPolicy", &json!({ "KeyId": key, "Policy": policy }))
}

#[test]
fn a_policy_is_given_back_as_it_was_put() {
    let (fixture, key) = Fixture::with_alice();
    let get = || text(&fixture.ok("GetKeyPolicy", &json!({ "KeyId": key, "PolicyName": "default" }))["Policy"]);
    let default: Value = serde_json::from_str(&get()).unwrap();
    assert_eq!(
        default,
        json!({ "Version": "2012-10-17", "Id": "key-default-1", "Statement": [{
            "Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": { "AWS": ROOT },
            "Action": "kms:*", "Resource": "*",
        }] })
    );
    let policy = format!("\n  {}\t\r\n", document(&[says("Allow", ROOT, "kms:*")]));
    put(&fixture, &key, &policy).unwrap();
    assert_eq!(get(), policy);
    assert_eq!(fixture.ok("ListKeyPolicies", &json!({ "KeyId": key }))["PolicyNames"], json!(["default"]));

    let created = fixture.ok("CreateKey", &json!({ "Policy": policy }))["KeyMetadata"]["KeyId"].clone();
    assert_eq!(fixture.ok("GetKeyPolicy", &json!({ "KeyId": created }))["Policy"], json!(policy));
    assert!(fixture.last_record()["responseElements"].is_null());
}

#[test]
fn a_policy_that_locks_its_author_out_needs_a_second_word() {
    let (fixture, key) = Fixture::with_alice();
    let message = "The new key policy will not allow you to update the key policy in the future.";
    for policy in [
        document(&[says("Allow", ALICE, "kms:*")]),
        document(&[says("Allow", ROOT, "kms:*"), says("Deny", ADMIN, "kms:PutKeyPolicy")]),
        document(&[says("Allow", ROOT, "kms:Encrypt")]),
    ] {
        let refused = Err(("MalformedPolicyDocumentException", message.to_owned()));
        assert_eq!(put(&fixture, &key, &policy), refused, "{policy}");
        assert_eq!(fixture.call("CreateKey", &json!({ "Policy": policy })), refused, "{policy}");
    }
    put(&fixture, &key, &document(&[says("Allow", ADMIN, "kms:*")])).unwrap();
    let policy = document(&[says("Allow", ALICE, "kms:*")]);
    let bypassing = json!({ "KeyId": key, "Policy": policy, "BypassPolicyLockoutSafetyCheck": true });
    fixture.ok("PutKeyPolicy", &bypassing);
    assert_eq!(fixture.code("PutKeyPolicy", &bypassing), "AccessDeniedException", "locked out");
    assert!(fixture.may(ALICE, "PutKeyPolicy", &bypassing));
}

#[test]
fn the_safety_check_knows_the_key_that_the_policy_is_for() {
    let (fixture, key) = Fixture::with_alice();
    fixture.ok("TagResource", &json!({ "KeyId": key, "Tags": [{ "TagKey": "team", "TagValue": "db" }] }));
    let of_team = |team: &str| {
        let condition = json!({ "StringEquals": { "aws:ResourceTag/team": team } });
        document(&[says_if("Allow", ROOT, "kms:*", &condition)])
    };
    assert!(put(&fixture, &key, &of_team("web")).is_err());
    put(&fixture, &key, &of_team("db")).unwrap();
    put(&fixture, &key, &of_team("db")).unwrap();
}

#[test]
fn a_policy_that_is_none_is_refused() {
    let (fixture, key) = Fixture::with_alice();
    let with = |member: &str, value: Value| {
        let mut statement = says("Allow", ROOT, "kms:*");
        statement[member] = value;
        document(&[statement])
    };
    for policy in [
        "{".to_owned(),
        "[]".to_owned(),
        json!({ "Version": "2012-10-17" }).to_string(),
        document(&[]),
        with("Effect", json!("Perhaps")),
        with("Principal", json!({ "AWS": "arn:aws:iam::111122223333:user/*" })),
        with("Principal", json!({ "AWS": "alice" })),
        with("Principle", json!("*")),
        with("Condition", json!({ "StringSounds": { "kms:CallerAccount": "1" } })),
    ] {
        assert_eq!(put(&fixture, &key, &policy).unwrap_err().0, "MalformedPolicyDocumentException", "{policy}");
    }
    put(&fixture, &key, &with("Sid", json!("what it says"))).unwrap();

    let says_nothing = json!({ "Effect": "Allow", "Principal": { "AWS": ALICE } });
    put(&fixture, &key, &document(&[says("Allow", ROOT, "kms:*"), says_nothing])).unwrap();
    assert!(!fixture.may_encrypt(ALICE, &key), "without Action and Resource it says nothing");
}

#[test]
fn for_all_values_on_one_value_is_refused_in_the_words_of_aws() {
    let (fixture, key) = Fixture::with_alice();
    let of = |operator: &str| {
        let condition = json!({ operator: { "kms:EncryptionContext:aws:ebs:id": "vol-1" } });
        document(&[says("Allow", ROOT, "kms:*"), says_if("Allow", ALICE, "kms:Decrypt", &condition)])
    };
    let (code, message) = put(&fixture, &key, &of("ForAllValues:StringEquals")).unwrap_err();
    assert_eq!(code, "MalformedPolicyDocumentException");
    assert!(message.contains("OverlyPermissiveCondition: Using the ForAllValues set operator"), "{message}");
    put(&fixture, &key, &of("ForAnyValue:StringEquals")).unwrap();
}

#[test]
fn a_policy_has_32_kb_of_the_characters_allowed() {
    let (fixture, key) = Fixture::with_alice();
    let policy = document(&[says("Allow", ROOT, "kms:*")]);
    let padded = |len: usize| format!("{policy}{}", " ".repeat(len - policy.len()));
    put(&fixture, &key, &padded(32 * 1024)).unwrap();
    assert_eq!(put(&fixture, &key, &padded(32 * 1024 + 1)).unwrap_err().0, "LimitExceededException");
    assert_eq!(put(&fixture, &key, &padded(131_073)).unwrap_err().0, "ValidationException");
    assert_eq!(put(&fixture, &key, "").unwrap_err().0, "ValidationException");
    let with_sid = |sid: &str| {
        let mut statement = says("Allow", ROOT, "kms:*");
        statement["Sid"] = json!(sid);
        document(&[statement])
    };
    put(&fixture, &key, &with_sid("é")).unwrap();
    assert_eq!(put(&fixture, &key, &with_sid("ł")).unwrap_err().0, "ValidationException");
}

#[test]
fn the_only_policy_is_named_default() {
    let (fixture, key) = Fixture::with_alice();
    let policy = document(&[says("Allow", ROOT, "kms:*")]);
    for (name, code) in [("default", None), ("other", Some("NotFoundException")), ("", Some("ValidationException"))] {
        let put = fixture.call("PutKeyPolicy", &json!({ "KeyId": key, "PolicyName": name, "Policy": policy }));
        let get = fixture.call("GetKeyPolicy", &json!({ "KeyId": key, "PolicyName": name }));
        assert_eq!((put.err().map(|e| e.0), get.err().map(|e| e.0)), (code, code), "{name}");
    }
}

#[test]
fn leave_to_bypass_the_safety_check_can_be_withheld() {
    let (fixture, key) = Fixture::with_alice();
    let bypasses = json!({ "Bool": { "kms:BypassPolicyLockoutSafetyCheck": "true" } });
    let policy = document(&[says("Allow", ROOT, "kms:*"), says_if("Deny", "*", "kms:PutKeyPolicy", &bypasses)]);
    put(&fixture, &key, &policy).unwrap();
    put(&fixture, &key, &policy).unwrap();
    let bypassing = json!({ "KeyId": key, "Policy": policy, "BypassPolicyLockoutSafetyCheck": true });
    assert_eq!(fixture.code("PutKeyPolicy", &bypassing), "AccessDeniedException");
}
