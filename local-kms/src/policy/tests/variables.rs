use super::*;

fn holds(version: &str, operator: &str, wanted: &str, context: &Context) -> bool {
    let text = format!(
        r#"{{{version} "Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {{"{operator}": {{"kms:EncryptionContext:owner": "{wanted}"}}}}}}}}"#
    );
    let policy = Policy::parse(&text, PolicyKind::Identity).unwrap();
    ask(&policy, &user(ALICE), "kms:Decrypt", context)[0].applies == Applies::Yes
}

const VERSION_2012: &str = r#""Version": "2012-10-17","#;

fn owner(owner: &str, name: Option<&str>) -> Context {
    let mut context = context(&[("kms:EncryptionContext:owner", owner)]);
    if let Some(name) = name {
        context.insert("aws:username", name);
    }
    context
}

#[test]
fn a_variable_is_the_value_of_the_request() {
    let of = |wanted: &str, context: &Context| holds(VERSION_2012, "StringEquals", wanted, context);
    assert!(of("${aws:username}", &owner("alice", Some("alice"))));
    assert!(of("${AWS:UserName}", &owner("alice", Some("alice"))));
    assert!(of("team/${aws:username}!", &owner("team/alice!", Some("alice"))));
    assert!(!of("${aws:username}", &owner("alice", Some("bob"))));
}

#[test]
fn before_version_2012_a_variable_is_text() {
    for version in ["", r#""Version": "2008-10-17","#] {
        assert!(!holds(version, "StringEquals", "${aws:username}", &owner("alice", Some("alice"))));
        assert!(holds(version, "StringEquals", "${aws:username}", &owner("${aws:username}", Some("alice"))));
        assert!(holds(version, "StringEquals", "${", &owner("${", None)));
    }
}

#[test]
fn without_a_value_the_default_stands_and_without_a_default_nothing_matches() {
    let of = |operator: &str, wanted: &str, context: &Context| holds(VERSION_2012, operator, wanted, context);
    for wanted in ["${aws:username, 'guest'}", "${aws:username,'guest'}", "${ aws:username , 'guest' }"] {
        assert!(of("StringEquals", wanted, &owner("guest", None)));
        assert!(of("StringEquals", wanted, &owner("alice", Some("alice"))));
        assert!(!of("StringEquals", wanted, &owner("guest", Some("alice"))));
    }
    assert!(of("StringEquals", "${aws:username, 'a}, b'}", &owner("a}, b", None)));
    assert!(!of("StringEquals", "${aws:username}", &owner("", None)));
    assert!(!of("StringLike", "*${aws:username}", &owner("x", None)));
    assert!(of("StringLike", "*${aws:username}", &owner("x", Some(""))));
    assert!(of("StringNotEquals", "${aws:username}", &owner("x", None)));
}

#[test]
fn a_key_of_several_values_is_no_variable() {
    let mut context = owner("a", None);
    context.insert_list("aws:username", vec!["a".into(), "b".into()]);
    assert!(!holds(VERSION_2012, "StringEquals", "${aws:username}", &context));
    context.insert_list("aws:username", vec!["a".into()]);
    assert!(holds(VERSION_2012, "StringEquals", "${aws:username}", &context));
}

#[test]
fn only_the_policy_writes_wildcards() {
    let of = |wanted: &str, context: &Context| holds(VERSION_2012, "StringLike", wanted, context);
    assert!(of("${aws:username}*", &owner("alice-1", Some("alice"))));
    assert!(!of("${aws:username}", &owner("alice", Some("*"))));
    assert!(of("${aws:username}", &owner("*", Some("*"))));
    assert!(!of("${aws:username, '*'}", &owner("alice", None)));
    assert!(of("${aws:username, '*'}", &owner("*", None)));
}

#[test]
fn special_characters_are_written_as_variables() {
    let of = |operator: &str, wanted: &str, actual: &str| holds(VERSION_2012, operator, wanted, &owner(actual, None));
    assert!(of("StringLike", "a${*}b${?}c${$}", "a*b?c$"));
    assert!(!of("StringLike", "a${*}", "ab"));
    assert!(!of("StringLike", "a${?}", "ab"));
    assert!(of("StringEquals", "${$}{aws:username}", "${aws:username}"));
}

#[test]
fn a_resource_and_an_arn_may_have_variables() {
    let statement = r#"{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:kms:*:*:alias/${aws:username}-*",
        "Condition": {"ArnLike": {"aws:PrincipalArn": "${kms:GranteePrincipal}"}}}"#;
    let policy = parse(PolicyKind::Identity, statement);
    let of = |resource: &str, name: &str, grantee: &str| {
        let caller = user(ALICE);
        let context =
            context(&[("aws:username", name), ("kms:GranteePrincipal", grantee), ("aws:PrincipalArn", ALICE)]);
        policy.evaluate(&Request { caller: &caller, action: "kms:X", resource, context: &context }).remove(0).applies
    };
    let alias = "arn:aws:kms:us-east-1:111122223333:alias/alice-db";
    assert_eq!(of(alias, "alice", ALICE), Applies::Yes);
    assert_eq!(of(alias, "bob", ALICE), Applies::No(Mismatch::Resource));
    assert_eq!(of(alias, "*", ALICE), Applies::No(Mismatch::Resource));
    assert!(matches!(of(alias, "alice", "arn:aws:iam::111122223333:user/*"), Applies::No(Mismatch::Conditions(_))));
}

#[test]
fn a_malformed_variable_is_refused() {
    let of = |wanted: &str| {
        let text = format!(
            r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "*", "Resource": "*",
                "Condition": {{"StringEquals": {{"a:b": "{wanted}"}}}}}}}}"#
        );
        Policy::parse(&text, PolicyKind::Identity).map_err(|error| error.to_string())
    };
    for malformed in
        ["${", "${}", "${ }", "${a:b", "${a:b, c}", "${a:b, 'c}", "${a:b, 'c' d}", "${a:b,}", "${a:${c:d}}"]
    {
        let message = format!("Statement 1: StringEquals \"a:b\": \"{malformed}\" has a malformed variable");
        assert_eq!(of(malformed).unwrap_err(), message);
    }
    assert!(of("$a {b} $}").is_ok());
}
