use super::*;

const KEY_NAME: &str = "kms:EncryptionContext:k";

/// Whether a statement with this condition on one key applies; the key has `actual`, or is missing.
fn holds_for(operator: &str, wanted: &str, actual: Option<&[&str]>) -> bool {
    let mut context = Context::default();
    if let Some(values) = actual {
        context.insert_list(KEY_NAME, values.iter().map(|&value| value.to_owned()).collect());
    }
    let statement = format!(
        r#"{{"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {{"{operator}": {{"{KEY_NAME}": {wanted}}}}}}}"#
    );
    ask(&parse(PolicyKind::Identity, &statement), &user(ALICE), "kms:Decrypt", &context)[0].applies == Applies::Yes
}

fn holds(operator: &str, wanted: &str, actual: &str) -> bool {
    holds_for(operator, wanted, Some(&[actual]))
}

/// Operator and what the policy wants, a value that matches, a value that does not.
const POSITIVE: &[(&str, &str, &str, &str)] = &[
    ("StringEquals", r#""a*""#, "a*", "ab"),
    ("StringEquals", r#"["x", "a"]"#, "a", "A"),
    ("StringEquals", "true", "true", "True"),
    ("StringEquals", "[7, \"b\"]", "7", "7.0"),
    ("StringEqualsIgnoreCase", r#""aÉ""#, "Aé", "e"),
    ("StringLike", r#"["x", "a*c?"]"#, "abccd", "abcc/d/"),
    ("StringLike", r#""a""#, "a", "A"),
    ("NumericEquals", "7", "7.0", "8"),
    ("NumericEquals", r#"["1", "7e0"]"#, "+7", "seven"),
    ("NumericLessThan", "7", "6.9", "7"),
    ("NumericLessThanEquals", "7", "7", "7.1"),
    ("NumericGreaterThan", "-7", "-6", "-7"),
    ("NumericGreaterThanEquals", "7", "7", "6"),
    ("NumericGreaterThanEquals", "7", "8", "inf"),
    ("DateEquals", r#""2026-01-02T03:04:05Z""#, "2026-01-02T04:04:05+01:00", "2026-01-02T03:04:06Z"),
    ("DateEquals", "1767225600", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
    ("DateEquals", r#""2026-01-01""#, "1767225600", "2026-01-01T00:00:00.5Z"),
    ("DateEquals", r#""20260101""#, "1970-08-23T11:48:21Z", "2026-01-01"),
    ("DateLessThan", r#""2026-01-02T00:00:00Z""#, "2026-01-01T23:59:59Z", "2026-01-02T00:00:00Z"),
    ("DateLessThanEquals", r#""2026-01-02T00:00:00Z""#, "2026-01-02T00:00:00Z", "2026-01-02T00:00:01Z"),
    ("DateGreaterThan", r#""2026-01-02T00:00:00Z""#, "2026-01-02T00:00:01Z", "2026-01-02T00:00:00Z"),
    ("DateGreaterThanEquals", r#""2026-01-02T00:00:00Z""#, "2026-01-02T00:00:00Z", "yesterday"),
    ("Bool", "true", "true", "false"),
    ("Bool", r#""False""#, "false", "no"),
    ("BinaryEquals", r#""AQID""#, "AQID", "aqid"),
    ("IpAddress", r#""203.0.113.0/24""#, "203.0.113.77", "203.0.114.1"),
    ("IpAddress", r#"["10.1.2.3/8", "192.0.2.1"]"#, "10.255.0.1", "192.0.2.2"),
    ("IpAddress", r#""2001:db8:1234:5678::/64""#, "2001:DB8:1234:5678::1", "2001:db8:1234:5679::1"),
    ("IpAddress", r#""0.0.0.0/0""#, "8.8.8.8", "::1"),
    ("IpAddress", r#""::/0""#, "::ffff:8.8.8.8", "here"),
    (
        "ArnEquals",
        r#""arn:aws:iam::111122223333:user/*""#,
        "arn:aws:iam::111122223333:user/a:b",
        "arn:aws:iam::1:user/a",
    ),
    ("ArnLike", r#""arn:aws:*:*:*:role/o?""#, "arn:aws:iam::1:role/op", "arn:aws:iam:a:1:2:role/op"),
];

/// Each negated operator and the one it negates.
const NEGATED: &[(&str, &str)] = &[
    ("StringNotEquals", "StringEquals"),
    ("StringNotEqualsIgnoreCase", "StringEqualsIgnoreCase"),
    ("StringNotLike", "StringLike"),
    ("NumericNotEquals", "NumericEquals"),
    ("DateNotEquals", "DateEquals"),
    ("NotIpAddress", "IpAddress"),
    ("ArnNotEquals", "ArnEquals"),
    ("ArnNotLike", "ArnLike"),
];

#[test]
fn a_positive_operator_holds_for_a_match_and_not_without_the_key() {
    for (operator, wanted, matching, other) in POSITIVE {
        assert!(holds(operator, wanted, matching), "{operator} {wanted} {matching}");
        assert!(!holds(operator, wanted, other), "{operator} {wanted} {other}");
        for absent in [None, Some([].as_slice())] {
            assert!(!holds_for(operator, wanted, absent), "{operator} {wanted}");
        }
    }
}

#[test]
fn a_negated_operator_holds_for_no_match_and_without_the_key() {
    for (negated, positive) in NEGATED {
        let rows: Vec<_> = POSITIVE.iter().filter(|(operator, ..)| operator == positive).collect();
        assert!(!rows.is_empty(), "{positive}");
        for (_, wanted, matching, other) in rows {
            assert!(!holds(negated, wanted, matching), "{negated} {wanted} {matching}");
            assert!(holds(negated, wanted, other), "{negated} {wanted} {other}");
            for absent in [None, Some([].as_slice())] {
                assert!(holds_for(negated, wanted, absent), "{negated} {wanted}");
            }
        }
    }
}

#[test]
fn if_exists_holds_without_the_key_and_else_changes_nothing() {
    for (operator, wanted, matching, other) in POSITIVE {
        let if_exists = format!("{operator}IfExists");
        assert!(holds(&if_exists, wanted, matching), "{if_exists} {wanted} {matching}");
        assert!(!holds(&if_exists, wanted, other), "{if_exists} {wanted} {other}");
        assert!(holds_for(&if_exists, wanted, None), "{if_exists} {wanted}");
    }
    for (negated, positive) in NEGATED {
        let if_exists = format!("{negated}IfExists");
        let (_, wanted, matching, other) = POSITIVE.iter().find(|(operator, ..)| operator == positive).unwrap();
        assert!(!holds(&if_exists, wanted, matching), "{if_exists}");
        assert!(holds(&if_exists, wanted, other), "{if_exists}");
        assert!(holds_for(&if_exists, wanted, None), "{if_exists}");
    }
}

#[test]
fn null_tests_presence() {
    for (wanted, when_absent, when_present) in [
        ("true", true, false),
        (r#""true""#, true, false),
        ("false", false, true),
        (r#""false""#, false, true),
        (r#"["true", "false"]"#, true, true),
        ("[]", false, false),
    ] {
        assert_eq!(holds_for("Null", wanted, None), when_absent, "{wanted}");
        assert_eq!(holds_for("Null", wanted, Some(&[])), when_absent, "{wanted}");
        assert_eq!(holds_for("Null", wanted, Some(&["x"])), when_present, "{wanted}");
        assert_eq!(holds_for("Null", wanted, Some(&[""])), when_present, "{wanted}");
    }
}

#[test]
fn for_any_value_wants_one_value_that_satisfies() {
    for (operator, wanted, matching, other) in POSITIVE {
        let any = format!("ForAnyValue:{operator}");
        assert!(holds_for(&any, wanted, Some(&[matching])), "{any} {wanted}");
        assert!(holds_for(&any, wanted, Some(&[other, matching])), "{any} {wanted}");
        assert!(!holds_for(&any, wanted, Some(&[other, other])), "{any} {wanted}");
        assert!(!holds_for(&any, wanted, Some(&[])), "{any} {wanted}");
        assert!(!holds_for(&any, wanted, None), "{any} {wanted}");
    }
    for (negated, positive) in NEGATED {
        let any = format!("ForAnyValue:{negated}");
        let (_, wanted, matching, other) = POSITIVE.iter().find(|(operator, ..)| operator == positive).unwrap();
        assert!(holds_for(&any, wanted, Some(&[matching, other])), "{any}");
        assert!(!holds_for(&any, wanted, Some(&[matching])), "{any}");
        assert!(!holds_for(&any, wanted, None), "{any}");
    }
}

#[test]
fn for_all_values_wants_no_value_that_does_not_satisfy() {
    for (operator, wanted, matching, other) in POSITIVE {
        let all = format!("ForAllValues:{operator}");
        assert!(holds_for(&all, wanted, Some(&[matching, matching])), "{all} {wanted}");
        assert!(!holds_for(&all, wanted, Some(&[matching, other])), "{all} {wanted}");
        assert!(holds_for(&all, wanted, Some(&[])), "{all} {wanted}");
        assert!(holds_for(&all, wanted, None), "{all} {wanted}");
    }
    for (negated, positive) in NEGATED {
        let all = format!("ForAllValues:{negated}");
        let (_, wanted, matching, other) = POSITIVE.iter().find(|(operator, ..)| operator == positive).unwrap();
        assert!(holds_for(&all, wanted, Some(&[other])), "{all}");
        assert!(!holds_for(&all, wanted, Some(&[matching, other])), "{all}");
        assert!(holds_for(&all, wanted, None), "{all}");
    }
}

#[test]
fn a_set_operator_and_if_exists_go_together() {
    assert!(holds_for("ForAnyValue:StringEqualsIfExists", r#""a""#, None));
    assert!(!holds_for("ForAnyValue:StringEqualsIfExists", r#""a""#, Some(&["b"])));
}

#[test]
fn without_a_set_operator_any_of_several_values_may_match_and_none_when_negated() {
    assert!(holds_for("StringEquals", r#""a""#, Some(&["b", "a"])));
    assert!(!holds_for("StringEquals", r#""a""#, Some(&["b", "c"])));
    assert!(!holds_for("StringNotEquals", r#""a""#, Some(&["b", "a"])));
    assert!(holds_for("StringNotEquals", r#""a""#, Some(&["b", "c"])));
}

#[test]
fn a_negated_operator_holds_only_if_none_of_its_values_matches() {
    assert!(!holds("StringNotEquals", r#"["a", "b"]"#, "b"));
    assert!(holds("StringNotEquals", r#"["a", "b"]"#, "c"));
    assert!(!holds("StringEquals", "[]", "a"));
    assert!(holds("StringNotEquals", "[]", "a"));
}

#[test]
fn operators_and_keys_are_read_in_any_case() {
    assert!(holds("stringequals", r#""a""#, "a"));
    assert!(holds("FORANYVALUE:STRINGLIKEIFEXISTS", r#""a*""#, "ab"));
    let statement = r#"{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals":
        {"KMS:encryptioncontext:AWS:EBS:ID": "vol-1"}}}"#;
    let policy = parse(PolicyKind::Identity, statement);
    let of = |context| ask(&policy, &user(ALICE), "kms:Decrypt", &context).remove(0).applies == Applies::Yes;
    assert!(of(context(&[("kms:EncryptionContext:aws:ebs:id", "vol-1")])));
    assert!(!of(context(&[("kms:EncryptionContext:aws:ebs:id", "VOL-1")])));
    assert!(!of(context(&[("kms:EncryptionContext:aws:ebs:i", "vol-1")])));
}

#[test]
fn all_operators_and_keys_must_hold_and_each_that_does_not_is_told() {
    let statement = r#"{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {
        "StringEquals": {"kms:CallerAccount": "111122223333",
                         "kms:ViaService": ["ec2.us-east-1.amazonaws.com", "rds.us-east-1.amazonaws.com"]},
        "Bool": {"kms:GrantIsForAWSResource": true}}}"#;
    let policy = parse(PolicyKind::Resource, statement);
    let of = |pairs: &[(&str, &str)]| ask(&policy, &user(ALICE), "kms:CreateGrant", &context(pairs)).remove(0).applies;
    let all = [
        ("kms:CallerAccount", "111122223333"),
        ("kms:ViaService", "rds.us-east-1.amazonaws.com"),
        ("kms:GrantIsForAWSResource", "true"),
    ];
    assert_eq!(of(&all), Applies::Yes);
    let failed =
        |operator: &str, key: &str, wanted: &[&str], actual: Option<&str>| crate::policy::condition::FailedCondition {
            operator: operator.to_owned(),
            key: key.to_owned(),
            wanted: wanted.iter().map(|&text| text.to_owned()).collect(),
            actual: actual.map(|text| vec![text.to_owned()]),
        };
    let services = ["ec2.us-east-1.amazonaws.com", "rds.us-east-1.amazonaws.com"];
    assert_eq!(
        of(&[all[0], ("kms:ViaService", "s3.us-east-1.amazonaws.com")]),
        Applies::No(Mismatch::Conditions(vec![
            failed("StringEquals", "kms:ViaService", &services, Some("s3.us-east-1.amazonaws.com")),
            failed("Bool", "kms:GrantIsForAWSResource", &["true"], None),
        ]))
    );
}

#[test]
fn a_context_ignores_the_case_of_names_and_keeps_the_latest_value() {
    let mut context = context(&[("kms:ViaService", "a"), ("aws:username", "alice")]);
    context.insert("KMS:viaService", "b");
    context.insert_list("kms:GrantOperations", Vec::new());
    assert_eq!(context.get("kms:viaservice"), Some(["b".to_owned()].as_slice()));
    assert_eq!(context.get("kms:grantoperations"), Some([].as_slice()));
    assert_eq!(context.get("kms:missing"), None);
}
