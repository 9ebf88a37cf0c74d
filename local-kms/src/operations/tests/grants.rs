//! What grants allow: operations, constraints, names and tokens.

use serde_json::{Value, json};

use super::principals::{ALICE, let_through};
use super::{Fixture, text};

fn data_key(key: &str, context: &Value) -> Value {
    json!({ "KeyId": key, "NumberOfBytes": 64, "EncryptionContext": context })
}

#[test]
fn a_grant_allows_its_operations_to_its_grantee_on_its_key() {
    let (fixture, key) = Fixture::with_alice();
    let other = fixture.create_key();
    let describe = |who: &str, key: &str| fixture.may(who, "DescribeKey", &json!({ "KeyId": key }));
    assert!(!describe(ALICE, &key));
    let request = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["DescribeKey", "Decrypt"] });
    let made = fixture.ok("CreateGrant", &request);
    assert_eq!(text(&made["GrantId"]).len(), 64);
    assert!(describe(ALICE, &key));
    assert!(!fixture.may_encrypt(ALICE, &key), "another operation");
    assert!(!describe(ALICE, &other), "another key");
    assert!(!describe("envol-volume", &key), "another principal");
}

#[test]
fn constraints_limit_the_encryption_context() {
    let contexts = [
        json!({ "aws:ebs:id": "vol-1" }),
        json!({ "AWS:EBS:ID": "vol-1" }),
        json!({ "aws:ebs:id": "vol-1", "aws:rds:db-id": "db-1" }),
        json!({ "aws:ebs:id": "VOL-1" }),
        json!({ "aws:rds:db-id": "db-1" }),
        json!({}),
    ];
    let pair = json!({ "aws:ebs:id": "vol-1" });
    for (constraints, expected) in [
        (json!({}), [true; 6]),
        (json!({ "EncryptionContextSubset": pair }), [true, true, true, false, false, false]),
        (json!({ "EncryptionContextEquals": pair }), [true, true, false, false, false, false]),
    ] {
        let (fixture, key) = Fixture::with_alice();
        let operations = ["GenerateDataKey", "DescribeKey", "RetireGrant"];
        let request = json!({
            "KeyId": key, "GranteePrincipal": ALICE, "Operations": operations, "Constraints": constraints,
        });
        let grant = fixture.ok("CreateGrant", &request);
        for (context, allowed) in contexts.iter().zip(expected) {
            let may = fixture.may(ALICE, "GenerateDataKey", &data_key(&key, context));
            assert_eq!(may, allowed, "{constraints} of {context}");
        }
        assert!(fixture.may(ALICE, "DescribeKey", &json!({ "KeyId": key })), "there is no context in it");
        assert!(fixture.may(ALICE, "RetireGrant", &json!({ "GrantToken": grant["GrantToken"] })));
    }
}

#[test]
fn a_grant_for_a_volume_is_one_for_re_encrypting_it() {
    let (fixture, key) = Fixture::with_alice();
    let context = json!({ "aws:ebs:id": "vol-1" });
    let blob = fixture.encrypt(&key, &context);
    let request = json!({
        "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["ReEncryptFrom", "ReEncryptTo"],
        "Constraints": { "EncryptionContextSubset": context },
    });
    fixture.ok("CreateGrant", &request);
    let re_encrypt = |to: &Value| {
        let request = json!({
            "CiphertextBlob": blob, "SourceEncryptionContext": context,
            "DestinationKeyId": key, "DestinationEncryptionContext": to,
        });
        fixture.may(ALICE, "ReEncrypt", &request)
    };
    assert!(re_encrypt(&context));
    assert!(!re_encrypt(&json!({ "aws:ebs:id": "snap-1" })), "the new context is not the grant's");
}

#[test]
fn asked_again_under_the_same_name_the_same_grant_is_answered() {
    let (fixture, key) = Fixture::with_alice();
    let request = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["Decrypt"], "Name": "volume/1" });
    let made = |changes: Value| {
        let mut request = request.clone();
        request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let grant = fixture.ok("CreateGrant", &request);
        (text(&grant["GrantId"]), text(&grant["GrantToken"]))
    };
    let (id, token) = made(json!({}));
    let (again, other_token) = made(json!({}));
    assert_eq!(again, id);
    assert_ne!(other_token, token);
    for changes in [
        json!({ "Name": "volume/2" }),
        json!({ "Operations": ["Encrypt"] }),
        json!({ "RetiringPrincipal": ALICE }),
        json!({ "Constraints": { "EncryptionContextSubset": { "a": "1" } } }),
    ] {
        assert_ne!(made(changes.clone()).0, id, "{changes}");
    }
    let unnamed = json!({ "Name": null });
    assert_ne!(made(unnamed.clone()).0, made(unnamed).0, "without a name each is another");
    assert_eq!(made(json!({})).0, id);
}

#[test]
fn any_token_of_a_grant_stands_for_it() {
    let (fixture, key) = Fixture::with_alice();
    let request = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["DescribeKey"], "Name": "n" });
    let tokens = [0, 1].map(|_| fixture.ok("CreateGrant", &request)["GrantToken"].clone());
    for token in &tokens {
        assert!(fixture.may(ALICE, "DescribeKey", &json!({ "KeyId": key, "GrantTokens": [token] })));
    }
    assert!(
        !fixture.may("envol-volume", "DescribeKey", &json!({ "KeyId": key, "GrantTokens": tokens })),
        "to nobody but its grantee"
    );
    fixture.ok("RevokeGrant", &json!({ "KeyId": key, "GrantId": fixture.ok("CreateGrant", &request)["GrantId"] }));
    let with_token = fixture.call_as(ALICE, "DescribeKey", &json!({ "KeyId": key, "GrantTokens": tokens }));
    assert!(!let_through(with_token), "the token of a grant that is gone gives nothing");
}

#[test]
fn what_is_no_token_is_refused_wherever_tokens_are_taken() {
    let (fixture, key) = Fixture::with_alice();
    let blob = fixture.encrypt(&key, &json!({}));
    let grant = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["Decrypt"] });
    let token = text(&fixture.ok("CreateGrant", &grant)["GrantToken"]);
    let mut changed = token.clone().into_bytes();
    changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    let requests = [
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "c2VjcmV0" })),
        ("Decrypt", json!({ "CiphertextBlob": blob })),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 64 })),
        ("GenerateDataKeyWithoutPlaintext", json!({ "KeyId": key, "NumberOfBytes": 64 })),
        ("ReEncrypt", json!({ "CiphertextBlob": blob, "DestinationKeyId": key })),
        ("DescribeKey", json!({ "KeyId": key })),
        ("CreateGrant", grant),
    ];
    for (operation, mut request) in requests {
        for (tokens, code) in [
            (json!(["not-a-token"]), "InvalidGrantTokenException"),
            (json!([token, changed]), "InvalidGrantTokenException"),
            (json!(vec![&token; 11]), "ValidationException"),
            (json!([""]), "ValidationException"),
        ] {
            request["GrantTokens"] = tokens;
            assert_eq!(fixture.code(operation, &request), code, "{operation} {request}");
        }
        request["GrantTokens"] = json!(vec![&token; 10]);
        fixture.ok(operation, &request);
    }
    assert!(!fixture.audit_text().contains(&token));
}

#[test]
fn a_grant_made_by_right_of_a_grant_is_no_wider() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create("carol");
    let carol = "arn:aws:iam::111122223333:user/carol";
    let pair = json!({ "aws:ebs:id": "vol-1" });
    let parent = json!({
        "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["Decrypt", "GenerateDataKey", "CreateGrant"],
        "Constraints": { "EncryptionContextSubset": pair },
    });
    fixture.ok("CreateGrant", &parent);
    let child = |operations: Value, constraints: Value| {
        let request = json!({
            "KeyId": key, "GranteePrincipal": carol, "Operations": operations, "Constraints": constraints,
        });
        fixture.may(ALICE, "CreateGrant", &request)
    };
    let same = || json!({ "EncryptionContextSubset": pair });
    assert!(!child(json!(["Encrypt"]), same()), "an operation more");
    assert!(!child(json!(["GenerateDataKey"]), json!({})), "no constraint");
    assert!(!child(json!(["GenerateDataKey"]), json!({ "EncryptionContextSubset": { "aws:ebs:id": "vol-2" } })));
    assert!(!fixture.may("carol", "GenerateDataKey", &data_key(&key, &pair)));
    assert!(child(json!(["GenerateDataKey"]), json!({ "EncryptionContextEquals": pair })));
    assert!(fixture.may("carol", "GenerateDataKey", &data_key(&key, &pair)));
    assert!(child(json!(["GenerateDataKey"]), same()));
    let request = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["Decrypt"] });
    assert!(!fixture.may("carol", "CreateGrant", &request), "the child does not allow it");
}
