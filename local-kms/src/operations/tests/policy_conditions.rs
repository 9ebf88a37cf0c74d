//! The condition keys of KMS, each from a request that has it.

use serde_json::{Value, json};

use super::Fixture;
use super::principals::{ALICE, ROOT, identity, says, says_if};

/// With a key that alice may use under `condition`.
fn may_if(fixture: &Fixture, key: &str, condition: &Value) {
    fixture.set_policy(key, &[says_if("Allow", ALICE, "kms:*", condition)]);
}

#[test]
fn a_condition_on_the_encryption_context_sees_all_of_it() {
    let (fixture, key) = Fixture::with_alice();
    let volume = json!({ "StringEquals": { "kms:EncryptionContext:aws:ebs:id": "vol-1" } });
    let in_other_case = json!({ "StringEquals": { "KMS:encryptioncontext:AWS:EBS:ID": "vol-1" } });
    let any_value = json!({ "ForAnyValue:StringEquals": { "kms:EncryptionContext:aws:ebs:id": ["vol-1", "vol-9"] } });
    let some_context = json!({ "Null": { "kms:EncryptionContextKeys": "false" } });
    let known_keys = json!({ "ForAllValues:StringEquals": { "kms:EncryptionContextKeys": ["aws:ebs:id"] } });
    let contexts = [
        json!({ "aws:ebs:id": "vol-1" }),
        json!({ "AWS:EBS:ID": "vol-1" }),
        json!({ "aws:ebs:id": "vol-1", "more": "x" }),
        json!({ "aws:ebs:id": "VOL-1" }),
        json!({}),
    ];
    for (condition, expected) in [
        (volume, [true, true, true, false, false]),
        (in_other_case, [true, true, true, false, false]),
        (any_value, [true, true, true, false, false]),
        (some_context, [true, true, true, true, false]),
        (known_keys, [true, false, false, true, true]),
    ] {
        may_if(&fixture, &key, &condition);
        for (context, allowed) in contexts.iter().zip(expected) {
            let request = json!({ "KeyId": key, "NumberOfBytes": 64, "EncryptionContext": context });
            assert_eq!(fixture.may(ALICE, "GenerateDataKey", &request), allowed, "{condition} of {context}");
        }
    }
}

#[test]
fn a_context_whose_keys_differ_by_case_only_is_refused() {
    let (fixture, key) = Fixture::with_alice();
    may_if(&fixture, &key, &json!({ "StringEquals": { "kms:EncryptionContext:a": "1" } }));
    let blob = fixture.encrypt(&fixture.create_key(), &json!({}));
    let context = json!({ "a": "1", "A": "2" });
    let requests = [
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "c2VjcmV0", "EncryptionContext": context })),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 1, "EncryptionContext": context })),
        ("Decrypt", json!({ "CiphertextBlob": blob, "EncryptionContext": context })),
    ];
    for (operation, request) in requests {
        assert_eq!(fixture.call_as(ALICE, operation, &request).unwrap_err().0, "ValidationException", "{operation}");
    }
    let two_keys = json!({ "KeyId": key, "NumberOfBytes": 1, "EncryptionContext": { "a": "1", "B": "2" } });
    assert!(fixture.may(ALICE, "GenerateDataKey", &two_keys));
}

#[test]
fn each_half_of_a_re_encryption_has_its_own_context() {
    let (fixture, from) = Fixture::with_alice();
    let to = fixture.create_key();
    let blob = fixture.encrypt(&from, &json!({ "of": "from" }));
    may_if(&fixture, &from, &json!({ "StringEquals": { "kms:EncryptionContext:of": "from" } }));
    may_if(&fixture, &to, &json!({ "StringEquals": { "kms:EncryptionContext:of": "to" } }));
    let request = |of: &str| {
        json!({
            "CiphertextBlob": blob, "SourceEncryptionContext": { "of": "from" },
            "DestinationKeyId": to, "DestinationEncryptionContext": { "of": of },
        })
    };
    assert!(fixture.may(ALICE, "ReEncrypt", &request("to")));
    assert!(!fixture.may(ALICE, "ReEncrypt", &request("from")));
}

#[test]
fn an_alias_counts_for_the_key_that_has_it_and_the_request_that_names_it() {
    let (fixture, key) = Fixture::with_alice();
    let other = fixture.create_key();
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/prod-db", "TargetKeyId": key }));
    let has = json!({ "ForAnyValue:StringLike": { "kms:ResourceAliases": "alias/prod-*" } });
    may_if(&fixture, &key, &has);
    may_if(&fixture, &other, &has);
    assert!(fixture.may_encrypt(ALICE, &key));
    assert!(!fixture.may_encrypt(ALICE, &other));

    may_if(&fixture, &key, &json!({ "StringEquals": { "kms:RequestAlias": "alias/prod-db" } }));
    let describe = |name: &str| fixture.may(ALICE, "DescribeKey", &json!({ "KeyId": name }));
    assert!(describe("alias/prod-db"));
    assert!(describe("arn:aws:kms:us-east-1:111122223333:alias/prod-db"));
    assert!(!describe(&key));
}

#[test]
fn the_alias_of_one_half_of_a_re_encryption_does_not_count_for_the_other() {
    let (fixture, from) = Fixture::with_alice();
    let to = fixture.create_key();
    for (alias, key) in [("alias/from", &from), ("alias/to", &to)] {
        fixture.ok("CreateAlias", &json!({ "AliasName": alias, "TargetKeyId": key }));
    }
    let blob = fixture.encrypt(&from, &json!({}));
    fixture.set_policy(&from, &[says("Allow", ALICE, "kms:*")]);
    let by_alias = json!({ "StringLike": { "kms:RequestAlias": "alias/*" } });
    may_if(&fixture, &to, &by_alias);
    let request = |to: &str| json!({ "CiphertextBlob": blob, "SourceKeyId": "alias/from", "DestinationKeyId": to });
    assert!(fixture.may(ALICE, "ReEncrypt", &request("alias/to")));
    assert!(!fixture.may(ALICE, "ReEncrypt", &request(&to)));
}

#[test]
fn tags_count_for_the_key_that_has_them() {
    let (fixture, key) = Fixture::with_alice();
    let of_team = json!({ "StringEquals": { "aws:ResourceTag/team": "db" } });
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*"), says_if("Allow", ALICE, "kms:*", &of_team)]);
    assert!(!fixture.may_encrypt(ALICE, &key));
    for (value, allowed) in [("db", true), ("web", false)] {
        let tags = json!([{ "TagKey": "team", "TagValue": value }]);
        fixture.ok("TagResource", &json!({ "KeyId": key, "Tags": tags }));
        assert_eq!(fixture.may_encrypt(ALICE, &key), allowed, "{value}");
    }
}

#[test]
fn the_tags_that_a_request_sets_count_for_it() {
    let (fixture, key) = Fixture::with_alice();
    let mut statement = identity("Allow", "kms:*");
    statement["Condition"] = json!({
        "StringEquals": { "aws:RequestTag/team": "db" },
        "ForAllValues:StringEquals": { "aws:TagKeys": ["team", "env"] },
    });
    fixture.attach(ALICE, &[statement]);
    let tags = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| json!({ "TagKey": key, "TagValue": value })).collect::<Vec<_>>()
    };
    for (pairs, allowed) in [
        (&[("team", "db")][..], true),
        (&[("team", "db"), ("env", "x")], true),
        (&[("team", "web")], false),
        (&[("team", "db"), ("other", "x")], false),
        (&[], false),
    ] {
        let tags = tags(pairs);
        assert_eq!(fixture.may(ALICE, "CreateKey", &json!({ "Tags": tags })), allowed, "CreateKey {pairs:?}");
        let request = json!({ "KeyId": key, "Tags": tags });
        assert_eq!(fixture.may(ALICE, "TagResource", &request), allowed, "TagResource {pairs:?}");
    }
}

#[test]
fn numbers_of_a_request_count_for_it() {
    let (fixture, key) = Fixture::with_alice();
    let soon = json!({ "NumericLessThan": { "kms:ScheduleKeyDeletionPendingWindowInDays": "14" } });
    fixture
        .set_policy(&key, &[says("Allow", ALICE, "kms:*"), says_if("Deny", ALICE, "kms:ScheduleKeyDeletion", &soon)]);
    let schedule = |more: Value| {
        let mut request = json!({ "KeyId": key });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let allowed = fixture.may(ALICE, "ScheduleKeyDeletion", &request);
        if allowed {
            fixture.call_as(ALICE, "CancelKeyDeletion", &json!({ "KeyId": key })).unwrap();
        }
        allowed
    };
    assert!(!schedule(json!({ "PendingWindowInDays": 13 })));
    assert!(schedule(json!({ "PendingWindowInDays": 14 })));
    assert!(schedule(json!({})), "30 days");
}

#[test]
fn what_a_key_is_counts_for_it() {
    let (fixture, key) = Fixture::with_alice();
    for (condition, allowed) in [
        (json!({ "StringEquals": { "kms:KeyOrigin": "AWS_KMS" } }), true),
        (json!({ "StringEquals": { "kms:KeyOrigin": "EXTERNAL" } }), false),
        (json!({ "StringEquals": { "kms:KeySpec": "SYMMETRIC_DEFAULT", "kms:KeyUsage": "ENCRYPT_DECRYPT" } }), true),
        (json!({ "StringEquals": { "aws:PrincipalArn": ALICE, "aws:username": "alice" } }), true),
        (
            json!({ "StringEquals": { "kms:CallerAccount": "111122223333", "aws:PrincipalAccount": "444455556666" } }),
            false,
        ),
        (json!({ "IpAddress": { "aws:SourceIp": "127.0.0.0/8" } }), true),
        (json!({ "IpAddress": { "aws:SourceIp": "10.0.0.0/8" } }), false),
    ] {
        may_if(&fixture, &key, &condition);
        assert_eq!(fixture.may_encrypt(ALICE, &key), allowed, "{condition}");
    }
}
