//! Random key policies and requests, decided here and by `iam-rs`, an independent implementation.
//!
//! The policies keep to what both decide as AWS documents it. Left out are:
//! - an account in a Deny, and sessions of roles: `iam-rs` knows a caller by one ARN, and an account is its root only;
//! - `{"AWS": "*"}` for a service: `iam-rs` takes it for every caller but a service, AWS for everyone;
//! - `*` and `?` in a service of a resource and across the colons of an ARN condition, and wildcards in `ArnEquals`,
//!   where `iam-rs` compares text: AWS has wildcards in `ArnEquals` and compares parts;
//! - variables in conditions, which `iam-rs` does not expand; variables without a value or with wildcards in it, which
//!   it takes for empty text and for wildcards;
//! - negated operators without a set operator on a key of several values, where each of the policy's values may be
//!   unequal to another of the request's: AWS documents no meaning;
//! - empty lists of values without a set operator, which `iam-rs` takes for a present key that equals nothing;
//! - several values of `Null`, of which `iam-rs` reads the first.

use iam_rs::{Arn, ContextValue, Decision, IAMPolicy, IAMRequest, Principal, PrincipalId, evaluate_policy};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::*;

const BOB: &str = "arn:aws:iam::111122223333:user/bob";
const EVE: &str = "arn:aws:iam::444455556666:user/eve";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const RDS: &str = "rds.us-east-1.amazonaws.com";
const ALIAS: &str = "arn:aws:kms:us-east-1:111122223333:alias/alice-db";

/// Keys by the type of their values.
const TEXT: &str = "kms:ViaService";
const TEXTS: &str = "kms:EncryptionContextKeys";
const ARN: &str = "aws:PrincipalArn";
const NUMBER: &str = "kms:ScheduleKeyDeletionPendingWindowInDays";
const DATE: &str = "aws:CurrentTime";
const BOOL: &str = "kms:GrantIsForAWSResource";
const ADDRESS: &str = "aws:SourceIp";

fn one_or_more(items: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop_oneof![select(items).prop_map(Value::from), prop::collection::vec(select(items), 1..4).prop_map(Value::from),]
}

fn principal(allow: bool) -> impl Strategy<Value = Value> {
    let named: &'static [&'static str] =
        if allow { &[ALICE, BOB, EVE, ROOT, "111122223333", "444455556666"] } else { &[ALICE, BOB, EVE] };
    prop_oneof![
        4 => Just(json!("*")),
        4 => one_or_more(named).prop_map(|names| json!({"AWS": names})),
        1 => one_or_more(&[RDS, "ec2.us-east-1.amazonaws.com"]).prop_map(|names| json!({"Service": names})),
    ]
}

fn actions() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("kms:*")),
        one_or_more(&[
            "kms:*",
            "*",
            "kms:Decrypt",
            "KMS:encrypt",
            "kms:?ncrypt",
            "kms:Generate*Plaintext",
            "kms:De*",
            "s3:*",
        ])
    ]
}

fn resources() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("*")),
        one_or_more(&[
            "*",
            KEY,
            "arn:aws:kms:*:111122223333:key/*",
            "arn:aws:kms:us-????-1:*:alias/*",
            "arn:aws:kms:*:*:*/?*",
            "arn:aws:kms:us-east-1:111122223333:alias/${aws:username, 'nobody'}-*",
            "arn:aws:s3:::bucket",
        ])
    ]
}

/// Operator, key and values.
fn condition() -> impl Strategy<Value = (String, &'static str, Value)> {
    let if_exists = || select(vec!["", "IfExists"]);
    let set = || select(vec!["ForAnyValue:", "ForAllValues:"]);
    let string = || {
        select(vec![
            "StringEquals",
            "StringNotEquals",
            "StringEqualsIgnoreCase",
            "StringNotEqualsIgnoreCase",
            "StringLike",
            "StringNotLike",
        ])
    };
    let positive_string = select(vec!["StringEquals", "StringEqualsIgnoreCase", "StringLike"]);
    let arn = || select(vec!["ArnEquals", "ArnNotEquals"]);
    let arn_like = || select(vec!["ArnLike", "ArnNotLike"]);
    let order = select(vec!["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]);
    let texts = || one_or_more(&["a", "A", "b", "a*", "*b", "?", "*", ""]);
    let arns = || one_or_more(&[ALICE, BOB, EVE]);
    let arn_patterns =
        || one_or_more(&[ALICE, "arn:aws:iam::*:user/*", "arn:aws:iam::111122223333:user/?o?", "arn:*:*:*:*:root"]);
    prop_oneof![
        (string(), if_exists(), texts()).prop_map(|(name, suffix, values)| (format!("{name}{suffix}"), TEXT, values)),
        (positive_string, texts()).prop_map(|(name, values)| (name.to_owned(), TEXTS, values)),
        (set(), string(), select(vec![TEXT, TEXTS]), texts()).prop_map(|(prefix, name, key, values)| (
            format!("{prefix}{name}"),
            key,
            values
        )),
        (arn(), if_exists(), arns()).prop_map(|(name, suffix, values)| (format!("{name}{suffix}"), ARN, values)),
        (arn_like(), if_exists(), arn_patterns()).prop_map(|(name, suffix, values)| (
            format!("{name}{suffix}"),
            ARN,
            values
        )),
        (set(), arn_like(), arn_patterns()).prop_map(|(prefix, name, values)| (format!("{prefix}{name}"), ARN, values)),
        (order.clone(), if_exists(), one_or_more(&["7", "-7", "7.5", "30"])).prop_map(|(name, suffix, values)| (
            format!("Numeric{name}{suffix}"),
            NUMBER,
            values
        )),
        (order, if_exists(), one_or_more(&["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+02:00", "1767225600"]))
            .prop_map(|(name, suffix, values)| (format!("Date{name}{suffix}"), DATE, values)),
        (if_exists(), any::<bool>()).prop_map(|(suffix, value)| (format!("Bool{suffix}"), BOOL, value.into())),
        (set(), any::<bool>()).prop_map(|(prefix, value)| (format!("{prefix}Bool"), BOOL, value.into())),
        (
            select(vec!["IpAddress", "NotIpAddress"]),
            if_exists(),
            one_or_more(&["10.0.0.0/8", "10.1.2.3", "192.0.2.77/24", "2001:db8::/32", "0.0.0.0/0", "::/0"]),
        )
            .prop_map(|(name, suffix, values)| (format!("{name}{suffix}"), ADDRESS, values)),
        (select(vec![TEXT, ARN, NUMBER, DATE, BOOL, ADDRESS]), any::<bool>()).prop_map(|(key, value)| (
            "Null".to_owned(),
            key,
            value.into()
        )),
    ]
}

fn statement() -> impl Strategy<Value = Value> {
    let who = prop_oneof![
        8 => principal(true).prop_map(|who| ("Allow", "Principal", who)),
        2 => principal(false).prop_map(|who| ("Deny", "Principal", who)),
        1 => principal(false).prop_map(|who| ("Deny", "NotPrincipal", who)),
    ];
    let what = prop_oneof![
        8 => actions().prop_map(|actions| Some(("Action", actions))),
        2 => actions().prop_map(|actions| Some(("NotAction", actions))),
        1 => Just(None),
    ];
    let whereon = prop_oneof![
        8 => resources().prop_map(|resources| Some(("Resource", resources))),
        2 => resources().prop_map(|resources| Some(("NotResource", resources))),
        1 => Just(None),
    ];
    let conditions = prop::collection::vec(condition(), 0..3);
    (who, what, whereon, conditions).prop_map(|((effect, element, who), what, whereon, conditions)| {
        let mut statement = json!({"Effect": effect, element: who});
        for (element, value) in what.into_iter().chain(whereon) {
            statement[element] = value;
        }
        for (operator, key, values) in conditions {
            statement["Condition"][operator][key] = values;
        }
        statement
    })
}

/// A context as both implementations take it.
fn contexts() -> impl Strategy<Value = (Context, iam_rs::Context)> {
    fn maybe<T: std::fmt::Debug + Clone + 'static>(values: Vec<T>) -> impl Strategy<Value = Option<T>> {
        prop::option::weighted(0.7, select(values))
    }
    let texts = prop::option::weighted(0.8, prop::collection::vec(select(vec!["a", "b", "ab", ""]), 0..3));
    (
        maybe(vec!["a", "A", "ab", "c", ""]),
        texts,
        maybe(vec![ALICE, BOB, EVE, ROOT]),
        maybe(vec!["7", "-7", "8"]),
        maybe(vec!["2026-01-01T00:00:00Z", "2025-12-31T23:00:00Z", "2026-01-01T00:00:00.5Z"]),
        maybe(vec![true, false]),
        maybe(vec!["10.1.2.3", "192.0.2.1", "8.8.8.8", "2001:db8::1", "2001:db9::1"]),
        maybe(vec!["alice", "bob"]),
    )
        .prop_map(|(text, texts, arn, number, date, truth, address, username)| {
            let (mut ours, mut theirs) = (Context::default(), iam_rs::Context::new());
            for (key, value) in [(TEXT, text), (ARN, arn), (DATE, date), (ADDRESS, address), ("aws:username", username)]
            {
                if let Some(value) = value {
                    ours.insert(key, value);
                    theirs.insert(key.to_owned(), ContextValue::String(value.to_owned()));
                }
            }
            if let Some(texts) = texts {
                let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
                ours.insert_list(TEXTS, texts.clone());
                theirs.insert(TEXTS.to_owned(), ContextValue::StringList(texts));
            }
            if let Some(number) = number {
                ours.insert(NUMBER, number);
                theirs.insert(NUMBER.to_owned(), ContextValue::Number(number.parse().unwrap()));
            }
            if let Some(truth) = truth {
                ours.insert(BOOL, truth.to_string());
                theirs.insert(BOOL.to_owned(), ContextValue::Boolean(truth));
            }
            (ours, theirs)
        })
}

fn callers() -> impl Strategy<Value = (Caller, Principal)> {
    let aws = |arn: &str| Principal::Aws(PrincipalId::String(arn.to_owned()));
    select(vec![
        (user(ALICE), aws(ALICE)),
        (user(BOB), aws(BOB)),
        (user(EVE), aws(EVE)),
        (root(), aws(ROOT)),
        (service(RDS), Principal::Service(PrincipalId::String(RDS.to_owned()))),
    ])
}

fn decide(outcomes: &[StatementOutcome]) -> Decision {
    let applies = |effect| outcomes.iter().any(|outcome| outcome.effect == effect && outcome.applies == Applies::Yes);
    if applies(Effect::Deny) {
        Decision::Deny
    } else if applies(Effect::Allow) {
        Decision::Allow
    } else {
        Decision::NotApplicable
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn both_implementations_decide_alike(
        statements in prop::collection::vec(statement(), 1..6),
        (caller, principal) in callers(),
        action in select(vec!["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"]),
        resource in select(vec![KEY, ALIAS]),
        (ours, theirs) in contexts(),
    ) {
        let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        let policy = Policy::parse(&text, PolicyKind::Resource).unwrap();
        let outcomes = policy.evaluate(&Request { caller: &caller, action, resource, context: &ours });

        let their_policy: IAMPolicy = serde_json::from_str(&text).unwrap();
        let request = IAMRequest::new_with_context(principal, action, Arn::parse(resource).unwrap(), theirs);
        let their_decision = evaluate_policy(&their_policy, &request).unwrap();
        prop_assert_eq!(decide(&outcomes), their_decision, "{}\n{:?}", text, outcomes);
    }
}
