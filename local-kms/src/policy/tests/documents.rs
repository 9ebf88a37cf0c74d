use proptest::prelude::*;

use super::*;

const STATEMENT: &str = r#""Effect": "Allow", "Action": "kms:*", "Resource": "*""#;

fn key_policy(elements: &str) -> String {
    format!(r#"{{"Statement": {{"Principal": "*", {elements}}}}}"#)
}

fn identity_policy(elements: &str) -> String {
    format!(r#"{{"Statement": {{{elements}}}}}"#)
}

#[test]
fn the_default_key_policy_of_aws_is_well_formed() {
    let text = r#"{
      "Version" : "2012-10-17",
      "Id" : "key-default-1",
      "Statement" : [ {
        "Sid" : "Enable IAM User Permissions",
        "Effect" : "Allow",
        "Principal" : { "AWS" : "arn:aws:iam::111122223333:root" },
        "Action" : "kms:*",
        "Resource" : "*"
      } ]
    }"#;
    let policy = Policy::parse(text, PolicyKind::Resource).unwrap();
    assert_eq!(applies(&policy, &user(ALICE)), Applies::ToAccount);
    assert_eq!(applies(&policy, &user("arn:aws:iam::444455556666:user/eve")), Applies::No(Mismatch::Principal));
}

#[test]
fn a_document_has_a_version_it_knows_and_statements() {
    let kind = PolicyKind::Identity;
    assert!(Policy::parse(&format!(r#"{{"Version": "2008-10-17", "Statement": [{{{STATEMENT}}}]}}"#), kind).is_ok());
    for (text, message) in [
        (r#"{"Statement": []}"#, "The list of statements is empty"),
        (r#"{"Version": "2012-10-17"}"#, "The policy has no Statement"),
        ("[]", "The policy is not a JSON object"),
        (r#"{"Statement": ["x"]}"#, "Statement 1 is not an object"),
        (
            r#"{"Version": "2012-10-18", "Statement": []}"#,
            r#"The version "2012-10-18" is neither "2012-10-17" nor "2008-10-17""#,
        ),
        (r#"{"Version": 2012, "Statement": []}"#, "Version is not a string"),
        (
            &format!(r#"{{"Statement": {{{STATEMENT}}}, "Statements": []}}"#),
            r#"Unknown element "Statements" of a policy"#,
        ),
    ] {
        assert_eq!(refusal(kind, text), message);
    }
    assert!(refusal(kind, "{").starts_with("The policy is not valid JSON: EOF"));
    assert!(refusal(kind, "").starts_with("The policy is not valid JSON: EOF"));
    assert!(refusal(kind, &"[".repeat(30_000)).starts_with("The policy is not valid JSON: recursion limit"));
}

#[test]
fn an_element_that_occurs_twice_hides_nothing() {
    let message = refusal(PolicyKind::Identity, &identity_policy(&format!(r#"{STATEMENT}, "Effect": "Deny""#)));
    assert!(message.starts_with(r#"The policy is not valid JSON: "Effect" occurs twice"#), "{message}");
    let twice = r#""Condition": {"Bool": {"a:b": true}, "Bool": {"a:c": true}}"#;
    let message = refusal(PolicyKind::Identity, &identity_policy(&format!("{STATEMENT}, {twice}")));
    assert!(message.starts_with(r#"The policy is not valid JSON: "Bool" occurs twice"#), "{message}");
}

#[test]
fn a_malformed_statement_is_refused_by_number_and_name() {
    let second = |elements: &str| format!(r#"{{"Statement": [{{{STATEMENT}}}, {{"Sid": "mine", {elements}}}]}}"#);
    assert!(Policy::parse(&second(STATEMENT), PolicyKind::Identity).is_ok());
    for (elements, reason) in [
        (r#""Action": "*", "Resource": "*""#, "it has no Effect"),
        (r#""Effect": "allow", "Action": "*", "Resource": "*""#, r#"the effect "allow" is neither "Allow" nor "Deny""#),
        (r#""Effect": "Allow", "Resource": "*""#, "it has neither Action nor NotAction"),
        (r#""Effect": "Allow", "Action": [], "Resource": "*""#, "it has neither Action nor NotAction"),
        (r#""Effect": "Allow", "Action": "*""#, "it has neither Resource nor NotResource"),
        (&format!(r#"{STATEMENT}, "NotAction": "*""#), "it has both Action and NotAction"),
        (&format!(r#"{STATEMENT}, "NotResource": "*""#), "it has both Resource and NotResource"),
        (&format!(r#"{STATEMENT}, "Principal": "*""#), "an identity policy names no principals"),
        (&format!(r#"{STATEMENT}, "NotPrincipal": "*""#), "an identity policy names no principals"),
        (&format!(r#"{STATEMENT}, "Conditions": {{}}"#), r#"unknown element "Conditions""#),
        (r#""Effect": "Allow", "Action": 7, "Resource": "*""#, "Action is no string or list of strings"),
        (r#""Effect": "Allow", "Action": "*", "NotResource": [7]"#, "NotResource is no string or list of strings"),
        (
            r#""Effect": "Allow", "Action": "Decrypt", "Resource": "*""#,
            r#"the action "Decrypt" names no service; write "kms:Decrypt""#,
        ),
        (
            r#""Effect": "Allow", "Action": "*", "Resource": "alias/x""#,
            r#"the resource "alias/x" is neither an ARN nor "*""#,
        ),
    ] {
        assert_eq!(refusal(PolicyKind::Identity, &second(elements)), format!("Statement 2 (\"mine\"): {reason}"));
    }
}

#[test]
fn the_sids_of_an_identity_policy_are_unique() {
    let two = |first: &str, second: &str| {
        format!(
            r#"{{"Statement": [{{"Sid": "{first}", "Principal": "*", {STATEMENT}}},
                               {{"Sid": "{second}", "Principal": "*", {STATEMENT}}}]}}"#
        )
    };
    let of_user = |first, second| two(first, second).replace(r#""Principal": "*", "#, "");
    assert!(Policy::parse(&of_user("a", "b"), PolicyKind::Identity).is_ok());
    assert_eq!(
        refusal(PolicyKind::Identity, &of_user("a", "a")),
        r#"Statement IDs (SID) in a single policy must be unique: "a" is not"#
    );
    assert!(Policy::parse(&two("a", "a"), PolicyKind::Resource).is_ok());
}

#[test]
fn a_key_policy_names_principals_that_can_exist() {
    let with = |element: &str| format!(r#"{{"Statement": {{{element} {STATEMENT}}}}}"#);
    for principal in [
        r#""*""#,
        r#"{"AWS": "*"}"#,
        r#"{"AWS": "111122223333"}"#,
        r#"{"AWS": ["arn:aws:iam::111122223333:user/a/b", "arn:aws-cn:iam::111122223333:root"]}"#,
        r#"{"Service": "rds.amazonaws.com", "Federated": "x", "CanonicalUser": ["y"]}"#,
    ] {
        assert!(Policy::parse(&with(&format!(r#""Principal": {principal},"#)), PolicyKind::Resource).is_ok());
    }
    let not_a_principal = |name: &str| {
        format!("invalid principal \"{name}\": it is neither an account nor the ARN of a user, a role or a session")
    };
    let a_wildcard = |name: &str| format!("invalid principal \"{name}\": a wildcard can only be everyone, \"*\"");
    for (principal, reason) in [
        (r#""111122223333""#, r#"the principal "111122223333" is neither "*" nor an object"#.to_owned()),
        (r#"["*"]"#, r#"a principal is "*" or an object"#.to_owned()),
        ("{}", "it names no principal".to_owned()),
        (r#"{"AWS": []}"#, "it names no principal".to_owned()),
        (r#"{"AWS": [7]}"#, r#"the principals of "AWS" are not strings"#.to_owned()),
        (r#"{"aws": "*"}"#, r#"unknown kind of principal "aws""#.to_owned()),
        (r#"{"AWS": "11112222333"}"#, not_a_principal("11112222333")),
        (r#"{"AWS": "arn:aws:iam::1:user/a"}"#, not_a_principal("arn:aws:iam::1:user/a")),
        (r#"{"AWS": "arn:aws:s3:::bucket"}"#, not_a_principal("arn:aws:s3:::bucket")),
        (r#"{"AWS": "arn:aws:iam::111122223333:user/*"}"#, a_wildcard("arn:aws:iam::111122223333:user/*")),
        (r#"{"AWS": "arn:aws:iam::*:root"}"#, a_wildcard("arn:aws:iam::*:root")),
        (
            r#"{"AWS": "arn:aws:iam::111122223333:group/g"}"#,
            "invalid principal \"arn:aws:iam::111122223333:group/g\": a group is no principal".to_owned(),
        ),
        (r#"{"Service": "*"}"#, r#"invalid service principal "*""#.to_owned()),
    ] {
        let message = refusal(PolicyKind::Resource, &with(&format!(r#""Principal": {principal},"#)));
        assert_eq!(message, format!("Statement 1: {reason}"));
    }
    assert_eq!(refusal(PolicyKind::Resource, &with("")), "Statement 1: it has no Principal");
    assert_eq!(
        refusal(PolicyKind::Resource, &with(r#""Principal": "*", "NotPrincipal": "*","#)),
        "Statement 1: it has both Principal and NotPrincipal"
    );
}

#[test]
fn not_principal_only_denies_and_only_in_a_key_policy() {
    let with = |effect: &str| {
        format!(r#"{{"Statement": {{"Effect": "{effect}", "NotPrincipal": "*", "Action": "*", "Resource": "*"}}}}"#)
    };
    assert!(Policy::parse(&with("Deny"), PolicyKind::Resource).is_ok());
    assert_eq!(
        refusal(PolicyKind::Resource, &with("Allow")),
        r#"Statement 1: NotPrincipal is supported with the effect "Deny" only"#
    );
    assert_eq!(refusal(PolicyKind::Trust, &with("Deny")), "Statement 1: a trust policy has no NotPrincipal");
}

#[test]
fn a_trust_policy_has_no_resource() {
    let with = |more: &str| {
        format!(r#"{{"Statement": {{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"{more}}}}}"#)
    };
    assert!(Policy::parse(&with(""), PolicyKind::Trust).is_ok());
    assert_eq!(
        refusal(PolicyKind::Trust, &with(r#", "Resource": "*""#)),
        "Statement 1: the resource of a trust policy is its role, so it has no Resource"
    );
    let nothing = r#"{"Statement": {"Effect": "Allow", "Principal": "*"}}"#;
    assert_eq!(refusal(PolicyKind::Trust, nothing), "Statement 1: it has neither Action nor NotAction");
}

#[test]
fn a_condition_that_compares_nothing_comparable_is_refused() {
    let with = |condition: &str| key_policy(&format!(r#"{STATEMENT}, "Condition": {condition}"#));
    for condition in ["{}", r#"{"StringEquals": {"a:b": ["x", 1, true]}}"#, r#"{"IpAddress": {"a:b": "10.0.0.0/8"}}"#] {
        assert!(Policy::parse(&with(condition), PolicyKind::Resource).is_ok(), "{condition}");
    }
    for (condition, reason) in [
        ("[]", "Condition is not an object"),
        (r#"{"Bool": true}"#, "Bool has no object of condition keys"),
        (r#"{"Bool": {"a:b": null}}"#, r#"Bool "a:b" is compared with what is no string, number or truth value"#),
        (r#"{"Bool": {"a:b": [["x"]]}}"#, r#"Bool "a:b" is compared with what is no string, number or truth value"#),
        (r#"{"StringIs": {"a:b": "x"}}"#, r#"StringIs "a:b": unknown condition operator"#),
        (r#"{"NullIfExists": {"a:b": "true"}}"#, r#"NullIfExists "a:b": unknown condition operator"#),
        (r#"{"IfExists": {"a:b": "true"}}"#, r#"IfExists "a:b": unknown condition operator"#),
        (r#"{"ForSome:Bool": {"a:b": "true"}}"#, r#"ForSome:Bool "a:b": unknown condition operator"#),
        (r#"{"Null": {"a:b": "x"}}"#, r#"Null "a:b": "x" is not true or false"#),
        (r#"{"Bool": {"a:b": ["true", "yes"]}}"#, r#"Bool "a:b": "yes" is not true or false"#),
        (r#"{"NumericEquals": {"a:b": "seven"}}"#, r#"NumericEquals "a:b": "seven" is not a number"#),
        (r#"{"NumericEquals": {"a:b": "NaN"}}"#, r#"NumericEquals "a:b": "NaN" is not a number"#),
        (r#"{"DateLessThan": {"a:b": "2026-02-30"}}"#, r#"DateLessThan "a:b": "2026-02-30" is not a date"#),
        (
            r#"{"IpAddress": {"a:b": "10.0.0.0/33"}}"#,
            r#"IpAddress "a:b": "10.0.0.0/33" is not an address or a network"#,
        ),
        (
            r#"{"NotIpAddress": {"a:b": "10.0.0/8"}}"#,
            r#"NotIpAddress "a:b": "10.0.0/8" is not an address or a network"#,
        ),
        (r#"{"BinaryEquals": {"a:b": "%"}}"#, r#"BinaryEquals "a:b": "%" is not base64"#),
    ] {
        assert_eq!(refusal(PolicyKind::Resource, &with(condition)), format!("Statement 1: {reason}"));
    }
}

#[test]
fn for_all_values_of_an_encryption_context_is_refused_as_aws_does() {
    let with = |operator: &str, key: &str| {
        key_policy(&format!(r#"{STATEMENT}, "Condition": {{"{operator}": {{"{key}": "x"}}}}"#))
    };
    let message = "Statement 1: OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued \
        condition key matches requests without the specified [encryption context or tag] or with an unspecified \
        [encryption context or tag]. To fix, remove ForAllValues.";
    for key in ["kms:EncryptionContext:aws:rds:db-id", "KMS:encryptioncontext:a", "aws:RequestTag/team"] {
        assert_eq!(refusal(PolicyKind::Resource, &with("ForAllValues:StringEquals", key)), message);
        assert!(Policy::parse(&with("ForAnyValue:StringEquals", key), PolicyKind::Resource).is_ok());
    }
    let keys = with("ForAllValues:StringEquals", "kms:EncryptionContextKeys");
    assert!(Policy::parse(&keys, PolicyKind::Resource).is_ok());
}

#[test]
fn a_variable_of_a_resource_stands_after_the_fifth_colon() {
    let with = |resource: &str| {
        format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "*", "Resource": "{resource}"}}}}"#
        )
    };
    assert!(Policy::parse(&with("arn:aws:kms:*:*:alias/${aws:username}"), PolicyKind::Identity).is_ok());
    assert_eq!(
        refusal(PolicyKind::Identity, &with("arn:aws:kms:*:${aws:PrincipalAccount}:key/*")),
        r#"Statement 1: the resource "arn:aws:kms:*:${aws:PrincipalAccount}:key/*" has a variable before its fifth colon"#
    );
}

fn document_like() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        "[\\PC]{0,12}",
        prop::sample::select(vec![
            "Version",
            "2012-10-17",
            "Statement",
            "Sid",
            "Effect",
            "Allow",
            "Deny",
            "Principal",
            "NotPrincipal",
            "AWS",
            "Service",
            "*",
            "111122223333",
            ALICE,
            "Action",
            "NotAction",
            "kms:*",
            "Resource",
            "NotResource",
            "Condition",
            "StringLike",
            "ForAllValues:StringEquals",
            "NumericLessThanIfExists",
            "DateEquals",
            "Bool",
            "IpAddress",
            "ArnLike",
            "Null",
            "${aws:username}",
            "${a:b, 'c'}",
            "${",
            "2026-01-01",
            "10.0.0.0/8",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        word.clone().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map(word.clone(), inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
    .prop_map(|json| json.to_string())
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in prop_oneof!["\\PC{0,200}", document_like()]) {
        for kind in [PolicyKind::Resource, PolicyKind::Identity, PolicyKind::Trust] {
            let _ = Policy::parse(&text, kind);
        }
    }

    #[test]
    fn no_value_makes_parsing_or_evaluation_panic(
        operator in prop::sample::select(vec![
            "StringLike", "NumericLessThan", "DateEquals", "Bool", "BinaryEquals", "IpAddress", "ArnLike", "Null",
        ]),
        wanted in "\\PC{0,40}|\\$\\{[a-b:,' }]{0,12}|[0-9.:/TZ+-]{0,30}",
        actual in "\\PC{0,40}|[0-9.:/TZ+-]{0,30}",
    ) {
        let document = serde_json::json!({
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Action": wanted, "Resource": wanted, "Principal": "*",
                "Condition": {operator: {"a:b": wanted}}},
        });
        if let Ok(policy) = Policy::parse(&document.to_string(), PolicyKind::Resource) {
            ask(&policy, &user(ALICE), &actual, &context(&[("a:b", &actual)]));
        }
    }
}
