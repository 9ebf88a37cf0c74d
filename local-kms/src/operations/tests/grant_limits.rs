//! What a grant can be, and what policies say about making one.

use serde_json::{Map, Value, json};

use super::Fixture;
use super::principals::{ALICE, ROOT, says, says_if};

const VOLUME: &str = "arn:aws:iam::111122223333:user/envol-volume";

fn request(key: &str, changes: &Value) -> Value {
    let mut request = json!({ "KeyId": key, "GranteePrincipal": VOLUME, "Operations": ["Decrypt"] });
    request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    request
}

fn pairs(count: usize, value: &str) -> Value {
    Value::Object((0..count).map(|i| (format!("k{i}"), json!(value))).collect::<Map<_, _>>())
}

#[test]
fn a_constraint_has_8_pairs_of_384_characters_at_most() {
    let (fixture, key) = Fixture::with_alice();
    for kind in ["EncryptionContextSubset", "EncryptionContextEquals"] {
        let make =
            |context: Value| fixture.call("CreateGrant", &request(&key, &json!({ "Constraints": { kind: context } })));
        assert!(make(pairs(8, &"é".repeat(384))).is_ok());
        assert_eq!(make(pairs(9, "v")).unwrap_err().0, "ValidationException");
        assert_eq!(make(pairs(1, &"v".repeat(385))).unwrap_err().0, "ValidationException");
        assert_eq!(make(json!({ "a": "1", "A": "2" })).unwrap_err().0, "ValidationException");
    }
}

#[test]
fn a_grant_that_would_be_none_is_refused() {
    let (fixture, key) = Fixture::with_alice();
    let both = json!({ "EncryptionContextSubset": { "a": "1" }, "EncryptionContextEquals": { "a": "1" } });
    let service = "rds.us-east-1.amazonaws.com";
    for (changes, code) in [
        (json!({ "Operations": [] }), "ValidationException"),
        (json!({ "Operations": null }), "ValidationException"),
        (json!({ "Operations": ["DisableKey"] }), "ValidationException"),
        (json!({ "Operations": ["Decrypt", "Sign"] }), "ValidationException"),
        (json!({ "Constraints": both }), "ValidationException"),
        (json!({ "GranteePrincipal": null }), "ValidationException"),
        (json!({ "GranteeServicePrincipal": service }), "ValidationException"),
        (json!({ "GranteePrincipal": null, "GranteeServicePrincipal": service }), "ValidationException"),
        (json!({ "GranteePrincipal": "alice" }), "InvalidArnException"),
        (json!({ "GranteePrincipal": "arn:aws:iam::111122223333:group/a" }), "InvalidArnException"),
        (json!({ "RetiringPrincipal": "arn:aws:iam::1:user/a" }), "InvalidArnException"),
        (json!({ "GranteePrincipal": "" }), "ValidationException"),
        (json!({ "Name": "n".repeat(257) }), "ValidationException"),
        (json!({ "Name": "with space" }), "ValidationException"),
    ] {
        assert_eq!(fixture.code("CreateGrant", &request(&key, &changes)), code, "{changes}");
    }
    assert_eq!(fixture.ok("ListGrants", &json!({ "KeyId": key }))["Grants"], json!([]));
    for changes in [
        json!({ "Name": "n".repeat(256) }),
        json!({ "GranteePrincipal": ROOT }),
        json!({ "GranteePrincipal": "arn:aws:sts::111122223333:assumed-role/db/one" }),
        json!({ "Operations": ["Decrypt", "Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext",
            "ReEncryptFrom", "ReEncryptTo", "CreateGrant", "RetireGrant", "DescribeKey"] }),
    ] {
        fixture.ok("CreateGrant", &request(&key, &changes));
    }
}

#[test]
fn a_grant_names_its_key_by_id_or_arn() {
    let (fixture, key) = Fixture::with_alice();
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/its", "TargetKeyId": key }));
    fixture.ok("CreateGrant", &request(&Fixture::arn(&key), &json!({})));
    assert_eq!(fixture.code("CreateGrant", &request("alias/its", &json!({}))), "NotFoundException");
}

#[test]
fn a_policy_can_limit_the_grants_that_may_be_made() {
    let (fixture, key) = Fixture::with_alice();
    let subset = || json!({ "EncryptionContextSubset": { "aws:ebs:id": "vol-1" } });
    let equals = || json!({ "EncryptionContextEquals": { "aws:ebs:id": "vol-1" } });
    for (condition, yes, no) in [
        (
            json!({ "ForAllValues:StringEquals": { "kms:GrantOperations": ["Decrypt", "DescribeKey"] } }),
            json!({ "Operations": ["Decrypt"] }),
            json!({ "Operations": ["Decrypt", "Encrypt"] }),
        ),
        (
            json!({ "StringEquals": { "kms:GrantConstraintType": "EncryptionContextSubset" } }),
            json!({ "Constraints": subset() }),
            json!({ "Constraints": equals() }),
        ),
        (
            json!({ "StringEquals": { "kms:GrantConstraintType": "EncryptionContextEquals" } }),
            json!({ "Constraints": equals() }),
            json!({}),
        ),
        (
            json!({ "StringEquals": { "kms:GranteePrincipal": VOLUME } }),
            json!({}),
            json!({ "GranteePrincipal": ALICE }),
        ),
        (
            json!({ "StringEquals": { "kms:RetiringPrincipal": ALICE } }),
            json!({ "RetiringPrincipal": ALICE }),
            json!({}),
        ),
        (
            json!({ "StringEquals": { "kms:EncryptionContext:aws:ebs:id": "vol-1" } }),
            json!({ "Constraints": subset() }),
            json!({ "Constraints": { "EncryptionContextSubset": { "aws:ebs:id": "vol-2" } } }),
        ),
    ] {
        fixture.set_policy(&key, &[says_if("Allow", ALICE, "kms:CreateGrant", &condition)]);
        assert!(fixture.may(ALICE, "CreateGrant", &request(&key, &yes)), "{condition} of {yes}");
        assert!(!fixture.may(ALICE, "CreateGrant", &request(&key, &no)), "{condition} of {no}");
    }
}

#[test]
fn grants_for_aws_resources_are_those_that_a_service_asks_for() {
    let (fixture, key) = Fixture::with_alice();
    let service = fixture.create_acting("ec2", "user/alice");
    let grant = fixture.ok("CreateGrant", &request(&key, &json!({})));
    let for_resource = json!({ "Bool": { "kms:GrantIsForAWSResource": "true" } });
    let all = |who: &str| {
        [
            fixture.may(who, "CreateGrant", &request(&key, &json!({}))),
            fixture.may(who, "ListGrants", &json!({ "KeyId": key })),
            fixture.may(who, "RevokeGrant", &json!({ "KeyId": key, "GrantId": grant["GrantId"] })),
        ]
    };
    fixture.set_policy(&key, &[says_if("Allow", ALICE, "kms:*", &for_resource)]);
    assert_eq!(all(ALICE), [false; 3]);
    assert_eq!(all(&service), [true; 3]);
    fixture.set_policy(&key, &[says("Allow", ALICE, "kms:*")]);
    assert!(fixture.may(ALICE, "ListGrants", &json!({ "KeyId": key })));
}
