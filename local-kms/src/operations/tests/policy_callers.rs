//! Callers who are not simply users of the account: other accounts, sessions of roles, services.

use serde_json::json;

use super::Fixture;
use super::principals::{ALICE, BOB, ROOT, document, identity, says, says_if};

const OTHER_ROOT: &str = "arn:aws:iam::444455556666:root";

#[test]
fn another_account_needs_the_keys_leave_and_its_own() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create(BOB);
    let (allows, silent) = (|| vec![identity("Allow", "kms:Encrypt")], || vec![identity("Allow", "s3:*")]);
    let cases = [
        ("named, own account silent", says("Allow", BOB, "kms:*"), silent(), false),
        ("named, own account allows", says("Allow", BOB, "kms:*"), allows(), true),
        ("account named, own account silent", says("Allow", OTHER_ROOT, "kms:*"), silent(), false),
        ("account named, own account allows", says("Allow", OTHER_ROOT, "kms:*"), allows(), true),
        ("not named, own account allows", says("Allow", ROOT, "kms:*"), allows(), false),
    ];
    for (name, key_policy, identity_policy, allowed) in cases {
        fixture.set_policy(&key, &[key_policy]);
        fixture.attach(BOB, &identity_policy);
        assert_eq!(fixture.may_encrypt(BOB, &key), allowed, "{name}");
    }
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*")]);
    fixture.ok("CreateGrant", &json!({ "KeyId": key, "GranteePrincipal": BOB, "Operations": ["Encrypt"] }));
    assert!(fixture.may_encrypt(BOB, &key), "a grant is the key's leave");
    fixture.attach(BOB, &silent());
    assert!(!fixture.may_encrypt(BOB, &key), "and nothing more");
}

#[test]
fn another_account_cannot_manage_a_key_whatever_it_is_allowed() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create(BOB);
    fixture.attach(BOB, &[identity("Allow", "kms:*")]);
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*"), says("Allow", BOB, "kms:*")]);
    let arn = Fixture::arn(&key);
    let grant = json!({ "KeyId": arn, "GranteePrincipal": BOB, "Operations": ["Encrypt"] });
    let policy = document(&[says("Allow", BOB, "kms:*")]);
    let tags = json!([{ "TagKey": "a", "TagValue": "b" }]);
    for (operation, request) in [
        ("CreateAlias", json!({ "AliasName": "alias/b", "TargetKeyId": arn })),
        ("DisableKey", json!({ "KeyId": arn })),
        ("EnableKey", json!({ "KeyId": arn })),
        ("EnableKeyRotation", json!({ "KeyId": arn })),
        ("GetKeyLastUsage", json!({ "KeyId": arn })),
        ("GetKeyPolicy", json!({ "KeyId": arn })),
        ("ListKeyPolicies", json!({ "KeyId": arn })),
        ("ListKeyRotations", json!({ "KeyId": arn })),
        ("ListKeys", json!({})),
        ("ListResourceTags", json!({ "KeyId": arn })),
        ("PutKeyPolicy", json!({ "KeyId": arn, "Policy": policy })),
        ("RotateKeyOnDemand", json!({ "KeyId": arn })),
        ("ScheduleKeyDeletion", json!({ "KeyId": arn })),
        ("TagResource", json!({ "KeyId": arn, "Tags": tags })),
        ("UpdateKeyDescription", json!({ "KeyId": arn, "Description": "" })),
    ] {
        assert!(!fixture.may(BOB, operation, &request), "{operation}");
    }
    for (operation, request) in [
        ("DescribeKey", json!({ "KeyId": arn })),
        ("GenerateDataKey", json!({ "KeyId": arn, "NumberOfBytes": 64 })),
        ("GetKeyRotationStatus", json!({ "KeyId": arn })),
        ("CreateGrant", grant),
        ("ListGrants", json!({ "KeyId": arn })),
    ] {
        assert!(fixture.may(BOB, operation, &request), "{operation}");
    }
}

#[test]
fn another_account_names_a_key_by_its_arn() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create(BOB);
    fixture.attach(BOB, &[identity("Allow", "kms:*")]);
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*"), says("Allow", BOB, "kms:*")]);
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/its", "TargetKeyId": key }));
    let described = |name: &str| fixture.call_as(BOB, "DescribeKey", &json!({ "KeyId": name }));
    assert!(described(&Fixture::arn(&key)).is_ok());
    assert!(described("arn:aws:kms:us-east-1:111122223333:alias/its").is_ok());
    for name in [key.as_str(), "alias/its"] {
        assert_eq!(described(name).unwrap_err().0, "NotFoundException", "{name} would be one of its own account");
    }
}

#[test]
fn a_session_is_meant_by_its_roles_name_and_by_its_own() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create_role("db", ALICE);
    let role = "arn:aws:iam::111122223333:role/db";
    // Assumed anew each time: a session knows its role as it was when the request came.
    let sessions = || ["one", "two"].map(|name| fixture.session(ALICE, "db", name, None).unwrap());
    let [one, _] = sessions();
    assert_eq!(one.arn(), "arn:aws:sts::111122223333:assumed-role/db/one");
    let request = json!({ "KeyId": key, "Plaintext": "c2VjcmV0" });
    let both = || sessions().map(|session| fixture.may_by(&session, "Encrypt", &request));
    assert_eq!(both(), [false, false]);
    fixture.set_policy(&key, &[says("Allow", role, "kms:Encrypt")]);
    assert_eq!(both(), [true, true], "the role is named");
    fixture.set_policy(&key, &[says("Allow", &one.arn(), "kms:Encrypt")]);
    assert_eq!(both(), [true, false], "one session is named");
    fixture.set_policy(&key, &[says("Allow", role, "kms:*"), says("Deny", &one.arn(), "kms:*")]);
    assert_eq!(both(), [false, true], "one session is denied");
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*")]);
    fixture.attach("role/db", &[identity("Allow", "kms:Encrypt")]);
    assert_eq!(both(), [true, true], "the role's identity policy");
    assert!(!fixture.may_encrypt(ALICE, &key), "who assumed the role has gained nothing");

    fixture.attach("role/db", &[identity("Allow", "s3:*")]);
    let grant = |grantee: &str| json!({ "KeyId": key, "GranteePrincipal": grantee, "Operations": ["Encrypt"] });
    fixture.ok("CreateGrant", &grant(&one.arn()));
    assert_eq!(both(), [true, false], "a grant to one session");
    fixture.ok("CreateGrant", &grant(role));
    assert_eq!(both(), [true, true], "a grant to the role");
}

#[test]
fn a_role_is_assumed_by_whom_it_trusts() {
    let (fixture, _) = Fixture::with_alice();
    fixture.create("carol");
    fixture.create_role("db", ALICE);
    assert!(fixture.session(ALICE, "db", "one", None).is_some());
    assert!(fixture.session("carol", "db", "one", None).is_none());
    assert!(fixture.session(ALICE, "absent", "one", None).is_none());
}

#[test]
fn a_session_policy_narrows_what_the_role_may_and_adds_nothing() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create_role("db", ALICE);
    fixture.attach("role/db", &[identity("Allow", "kms:Encrypt"), identity("Allow", "kms:DescribeKey")]);
    let request = json!({ "KeyId": key, "Plaintext": "c2VjcmV0" });
    let may = |statements: &[serde_json::Value]| {
        let policy = (!statements.is_empty()).then(|| document(statements));
        let session = fixture.session(ALICE, "db", "one", policy.as_deref()).unwrap();
        fixture.may_by(&session, "Encrypt", &request)
    };
    assert!(may(&[]));
    assert!(may(&[identity("Allow", "kms:Encrypt")]));
    assert!(!may(&[identity("Allow", "kms:DescribeKey")]));
    assert!(!may(&[identity("Allow", "kms:*"), identity("Deny", "kms:Encrypt")]));
    fixture.attach("role/db", &[identity("Allow", "kms:DescribeKey")]);
    assert!(!may(&[identity("Allow", "kms:*")]));

    let narrow = document(&[identity("Allow", "kms:DescribeKey")]);
    let session = fixture.session(ALICE, "db", "one", Some(&narrow)).unwrap();
    let refusal = fixture.raw_by(&session, "Encrypt", request.to_string().as_bytes()).unwrap_err();
    assert!(refusal.1.ends_with("because no session policy allows the kms:Encrypt action"), "{refusal:?}");
}

#[test]
fn a_service_is_meant_by_its_name_only() {
    let (fixture, key) = Fixture::with_alice();
    let service = "rds.us-east-1.amazonaws.com";
    fixture.create(service);
    assert!(!fixture.may_encrypt(service, &key), "the account's leave is none for a service");
    for (principal, allowed) in [(service, true), ("rds.amazonaws.com", true), ("ec2.amazonaws.com", false)] {
        let mut statement = says("Allow", "*", "kms:Encrypt");
        statement["Principal"] = json!({ "Service": principal });
        fixture.set_policy(&key, &[statement]);
        assert_eq!(fixture.may_encrypt(service, &key), allowed, "{principal}");
        assert!(!fixture.may_encrypt(ALICE, &key), "{principal}");
    }
}

#[test]
fn a_service_comes_into_it_by_its_credentials_only() {
    let (fixture, key) = Fixture::with_alice();
    let rds = fixture.create_acting("rds", "user/alice");
    let ec2 = fixture.create_acting("ec2", "user/alice");
    let via = json!({ "StringEquals": { "kms:ViaService": "rds.us-east-1.amazonaws.com" } });
    fixture.set_policy(&key, &[says_if("Allow", ALICE, "kms:*", &via)]);
    assert!(fixture.may_encrypt(&rds, &key));
    assert!(!fixture.may_encrypt(&ec2, &key), "another service");
    assert!(!fixture.may_encrypt(ALICE, &key), "no service");
    let claims = json!({
        "KeyId": key, "Plaintext": "c2VjcmV0", "ViaService": "rds.us-east-1.amazonaws.com",
        "EncryptionContext": { "kms:ViaService": "rds.us-east-1.amazonaws.com" },
    });
    assert!(!fixture.may(ALICE, "Encrypt", &claims), "what a request says of itself");
    fixture.set_policy(&key, &[says("Allow", ROOT, "kms:*")]);
    assert!(!fixture.may_encrypt(&rds, &key), "the service has the rights of whom it acts for");
    fixture.attach(ALICE, &[identity("Allow", "kms:Encrypt")]);
    assert!(fixture.may_encrypt(&rds, &key));
}
