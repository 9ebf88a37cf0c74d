//! Who may use a key of their own account: key policy, identity policies and grants together.

use serde_json::{Value, json};

use super::principals::{ALICE, ROOT, document, identity, says, says_if};
use super::{Fixture, text};

#[test]
fn the_same_account_rule_in_five_cases() {
    let (fixture, key) = Fixture::with_alice();
    let delegates = || says("Allow", ROOT, "kms:*");
    let iam_allows = || vec![identity("Allow", "kms:Encrypt")];
    let nothing = || vec![identity("Allow", "s3:GetObject")];
    let cases = [
        ("not delegating, IAM allows", vec![says("Allow", ROOT, "kms:DescribeKey")], iam_allows(), false),
        ("delegating, IAM allows", vec![delegates()], iam_allows(), true),
        ("delegating, IAM silent", vec![delegates()], nothing(), false),
        ("named directly, IAM silent", vec![says("Allow", ALICE, "kms:Encrypt")], nothing(), true),
        (
            "explicit deny",
            vec![delegates(), says("Allow", ALICE, "kms:Encrypt"), says("Deny", ALICE, "kms:Encrypt")],
            iam_allows(),
            false,
        ),
    ];
    for (name, key_policy, identity_policy, allowed) in cases {
        fixture.set_policy(&key, &key_policy);
        fixture.attach(ALICE, &identity_policy);
        assert_eq!(fixture.may_encrypt(ALICE, &key), allowed, "{name}");
    }
}

#[test]
fn an_explicit_deny_beats_everything_that_allows() {
    let (fixture, key) = Fixture::with_alice();
    let all_allow = || vec![says("Allow", ROOT, "kms:*"), says("Allow", ALICE, "kms:*")];
    let grant = json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["Encrypt"] });
    fixture.ok("CreateGrant", &grant);
    for (source, denies) in [
        ("the key policy", says("Deny", ALICE, "kms:Encrypt")),
        ("of the account", says("Deny", ROOT, "kms:Encrypt")),
        ("of everyone", says("Deny", "*", "kms:*")),
    ] {
        fixture.attach(ALICE, &[identity("Allow", "kms:*")]);
        fixture.set_policy(&key, &all_allow());
        assert!(fixture.may_encrypt(ALICE, &key), "before: {source}");
        fixture.set_policy(&key, &[all_allow(), vec![denies]].concat());
        assert!(!fixture.may_encrypt(ALICE, &key), "{source}");
    }
    fixture.set_policy(&key, &all_allow());
    fixture.attach(ALICE, &[identity("Allow", "kms:*"), identity("Deny", "kms:Encrypt")]);
    assert!(!fixture.may_encrypt(ALICE, &key), "an identity policy");
}

#[test]
fn a_grant_alone_is_enough_and_needs_neither_policy() {
    let (fixture, key) = Fixture::with_alice();
    fixture.ok("CreateGrant", &json!({ "KeyId": key, "GranteePrincipal": ALICE, "Operations": ["Encrypt"] }));
    fixture.set_policy(&key, &[says("Allow", "arn:aws:iam::111122223333:user/carol", "kms:*")]);
    assert!(fixture.may_encrypt(ALICE, &key));
    assert!(!fixture.may(ALICE, "DescribeKey", &json!({ "KeyId": key })), "the grant does not say so");
}

#[test]
fn without_the_root_statement_iam_allows_nothing_but_still_denies() {
    let (fixture, key) = Fixture::with_alice();
    fixture.set_policy(&key, &[says("Allow", ALICE, "kms:*")]);
    fixture.create("carol");
    fixture.attach("carol", &[identity("Allow", "kms:*")]);
    assert!(!fixture.may_encrypt("carol", &key));
    assert!(fixture.may_encrypt(ALICE, &key));
    fixture.attach(ALICE, &[identity("Deny", "kms:Encrypt")]);
    assert!(!fixture.may_encrypt(ALICE, &key));
    assert!(fixture.may(ALICE, "DescribeKey", &json!({ "KeyId": key })));
}

#[test]
fn everyone_of_the_account_is_everyone_under_a_condition() {
    let (fixture, key) = Fixture::with_alice();
    for everyone in [json!("*"), json!({ "AWS": "*" })] {
        for (account, allowed) in [("111122223333", true), ("444455556666", false)] {
            let mut statement =
                says_if("Allow", "*", "kms:Encrypt", &json!({ "StringEquals": { "kms:CallerAccount": account } }));
            statement["Principal"] = everyone.clone();
            fixture.set_policy(&key, &[statement]);
            assert_eq!(fixture.may_encrypt(ALICE, &key), allowed, "{everyone} of {account}");
        }
    }
}

#[test]
fn the_account_root_has_what_the_key_policy_gives_the_account() {
    let (fixture, key) = Fixture::with_alice();
    fixture.create("root");
    assert!(fixture.may_encrypt("root", &key), "it needs no identity policy");
    assert!(!fixture.may_encrypt(ALICE, &key), "others do");
    fixture.set_policy(&key, &[says("Allow", ALICE, "kms:*")]);
    assert!(!fixture.may_encrypt("root", &key));
    let message = format!(
        "User: {ROOT} is not authorized to perform: kms:Encrypt on resource: {} because no resource-based policy allows \
         the kms:Encrypt action",
        Fixture::arn(&key)
    );
    assert_eq!(fixture.why_not_encrypt("root", &key), message);
}

#[test]
fn a_denial_says_who_may_not_do_what_to_which_key_and_why() {
    let (fixture, key) = Fixture::with_alice();
    let why = |key_policy: &[Value], identity_policy: &[Value]| {
        fixture.set_policy(&key, key_policy);
        fixture.attach(ALICE, identity_policy);
        let message = fixture.why_not_encrypt(ALICE, &key);
        let start =
            format!("User: {ALICE} is not authorized to perform: kms:Encrypt on resource: {} ", Fixture::arn(&key));
        message.strip_prefix(&start).unwrap_or_else(|| panic!("{message}")).to_owned()
    };
    let (delegates, silent) = (says("Allow", ROOT, "kms:*"), identity("Allow", "s3:*"));
    assert_eq!(
        why(&[says("Allow", "*", "kms:DescribeKey")], std::slice::from_ref(&silent)),
        "because no resource-based policy allows the kms:Encrypt action"
    );
    assert_eq!(
        why(std::slice::from_ref(&delegates), std::slice::from_ref(&silent)),
        "because no identity-based policy allows the kms:Encrypt action"
    );
    assert_eq!(
        why(&[delegates.clone(), says("Deny", ALICE, "kms:*")], &[identity("Allow", "kms:*")]),
        "with an explicit deny in a resource-based policy"
    );
    assert_eq!(
        why(&[delegates], &[identity("Allow", "kms:*"), identity("Deny", "kms:*")]),
        "with an explicit deny in an identity-based policy"
    );
}

#[test]
fn what_is_no_key_is_for_identity_policies_to_allow() {
    let (fixture, key) = Fixture::with_alice();
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/its", "TargetKeyId": key }));
    let requests = [
        ("CreateKey", json!({})),
        ("ListKeys", json!({})),
        ("ListAliases", json!({})),
        ("GenerateRandom", json!({ "NumberOfBytes": 1 })),
        ("ListRetirableGrants", json!({ "RetiringPrincipal": ALICE })),
    ];
    for (operation, request) in &requests {
        fixture.attach(ALICE, &[identity("Allow", "s3:*")]);
        assert!(!fixture.may(ALICE, operation, request), "{operation}");
        fixture.attach(ALICE, &[identity("Allow", &format!("kms:{operation}"))]);
        assert!(fixture.may(ALICE, operation, request), "{operation}");
    }
}

#[test]
fn an_alias_needs_leave_for_itself_and_for_its_key() {
    let (fixture, key) = Fixture::with_alice();
    let request = json!({ "AliasName": "alias/new", "TargetKeyId": key });
    let of = |resource: &str| json!({ "Effect": "Allow", "Action": "kms:CreateAlias", "Resource": resource });
    let (alias, its_key) = ("arn:aws:kms:us-east-1:111122223333:alias/new", Fixture::arn(&key));
    for (statements, allowed) in
        [(vec![of(alias)], false), (vec![of(&its_key)], false), (vec![of(alias), of(&its_key)], true)]
    {
        fixture.attach(ALICE, &statements);
        assert_eq!(fixture.may(ALICE, "CreateAlias", &request), allowed, "{}", document(&statements));
    }
}

#[test]
fn who_names_no_key_is_asked_about_the_one_in_the_blob_and_not_told_which() {
    let (fixture, key) = Fixture::with_alice();
    let other = fixture.create_key();
    let (blob, others) = (fixture.encrypt(&key, &json!({})), fixture.encrypt(&other, &json!({})));
    fixture.set_policy(&key, &[says("Allow", ALICE, "kms:Decrypt")]);
    let opened = fixture.call_as(ALICE, "Decrypt", &json!({ "CiphertextBlob": blob })).unwrap();
    assert_eq!(text(&opened["KeyId"]), Fixture::arn(&key));
    let masked = fixture.call_as(ALICE, "Decrypt", &json!({ "CiphertextBlob": others })).unwrap_err();
    let message = "The ciphertext refers to a customer master key that does not exist, does not exist in this region, \
                   or you are not allowed to access.";
    assert_eq!(masked, ("AccessDeniedException", message.to_owned()));
    let named = json!({ "CiphertextBlob": others, "KeyId": other });
    let (_, message) = fixture.call_as(ALICE, "Decrypt", &named).unwrap_err();
    assert!(message.contains(&Fixture::arn(&other)), "who names it knows it: {message}");
    assert_eq!(fixture.last_record()["resources"][0]["ARN"], Fixture::arn(&other));
}

#[test]
fn re_encryption_needs_one_permission_on_each_key() {
    let (fixture, from) = Fixture::with_alice();
    let to = fixture.create_key();
    let (blob, others) = (fixture.encrypt(&from, &json!({})), fixture.encrypt(&to, &json!({})));
    fixture.set_policy(&from, &[says("Allow", ALICE, "kms:ReEncryptFrom")]);
    fixture.set_policy(&to, &[says("Allow", ALICE, "kms:ReEncryptTo")]);
    let request = |blob: &Value, to: &str| json!({ "CiphertextBlob": blob, "DestinationKeyId": to });
    assert!(fixture.may(ALICE, "ReEncrypt", &request(&blob, &to)));
    assert!(!fixture.may(ALICE, "ReEncrypt", &request(&others, &from)), "the other way round");
    let (code, message) = fixture.call_as(ALICE, "ReEncrypt", &request(&blob, &from)).unwrap_err();
    assert_eq!(code, "AccessDeniedException");
    assert!(message.contains("kms:ReEncryptTo on resource"), "{message}");
    fixture.set_policy(&from, &[says("Allow", ALICE, "kms:ReEncrypt*")]);
    assert!(fixture.may(ALICE, "ReEncrypt", &request(&blob, &from)));

    let same = json!({ "Bool": { "kms:ReEncryptOnSameKey": "true" } });
    for key in [&from, &to] {
        fixture.set_policy(key, &[says_if("Allow", ALICE, "kms:ReEncrypt*", &same)]);
    }
    assert!(fixture.may(ALICE, "ReEncrypt", &request(&blob, &from)));
    assert!(!fixture.may(ALICE, "ReEncrypt", &request(&blob, &to)));
}
