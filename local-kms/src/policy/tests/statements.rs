use super::*;

const NOT_THE_ACTION: Applies = Applies::No(Mismatch::Action);
const NOT_THE_RESOURCE: Applies = Applies::No(Mismatch::Resource);

fn identity(elements: &str, action: &str, resource: &str) -> Applies {
    let policy = parse(PolicyKind::Identity, &format!(r#"{{"Effect": "Allow", {elements}}}"#));
    let (caller, context) = (user(ALICE), Context::default());
    let request = Request { caller: &caller, action, resource, context: &context };
    policy.evaluate(&request).remove(0).applies
}

#[test]
fn actions_match_with_wildcards_and_in_any_case() {
    let of = |actions: &str, action: &str| identity(&format!(r#""Action": {actions}, "Resource": "*""#), action, KEY);
    for actions in [
        r#""kms:Decrypt""#,
        r#""KMS:decrypt""#,
        r#""kms:De*""#,
        r#""kms:?ecrypt""#,
        r#""*""#,
        r#"["kms:Encrypt", "kms:Decrypt"]"#,
    ] {
        assert_eq!(of(actions, "kms:Decrypt"), Applies::Yes, "{actions}");
    }
    for actions in [r#""kms:Encrypt""#, r#""kms:De""#, r#""s3:*""#, r#""kms:?Decrypt""#] {
        assert_eq!(of(actions, "kms:Decrypt"), NOT_THE_ACTION, "{actions}");
    }
    assert_eq!(of(r#""kms:ReEncrypt*""#, "kms:ReEncryptFrom"), Applies::Yes);
}

#[test]
fn not_action_is_every_other_action() {
    let but = |action: &str| identity(r#""NotAction": ["kms:Encrypt", "kms:De*"], "Resource": "*""#, action, KEY);
    assert_eq!(but("kms:GenerateDataKey"), Applies::Yes);
    assert_eq!(but("kms:Encrypt"), NOT_THE_ACTION);
    assert_eq!(but("kms:DescribeKey"), NOT_THE_ACTION);
}

#[test]
fn resources_match_with_wildcards_over_the_whole_arn_in_the_same_case() {
    let of = |resource: &str| identity(&format!(r#""Action": "*", "Resource": {resource}"#), "kms:Decrypt", KEY);
    let exact = format!("\"{KEY}\"");
    for resource in [
        &exact,
        r#""*""#,
        r#""arn:aws:kms:*:111122223333:key/*""#,
        r#""arn:aws:kms:us-east-?:111122223333:key/*""#,
        r#""arn:aws:kms:*""#,
        r#"["arn:aws:s3:::x", "arn:aws:kms:us-east-1:*"]"#,
    ] {
        assert_eq!(of(resource), Applies::Yes, "{resource}");
    }
    for resource in
        [r#""arn:aws:kms:*:111122223333:KEY/*""#, r#""arn:aws:kms:*:444455556666:key/*""#, r#""arn:aws:kms""#]
    {
        assert_eq!(of(resource), NOT_THE_RESOURCE, "{resource}");
    }
}

#[test]
fn not_resource_is_every_other_resource() {
    let but =
        |resource: &str| identity(r#""Action": "*", "NotResource": "arn:aws:kms:*:*:key/*""#, "kms:Decrypt", resource);
    assert_eq!(but("arn:aws:kms:us-east-1:111122223333:alias/x"), Applies::Yes);
    assert_eq!(but(KEY), NOT_THE_RESOURCE);
}

#[test]
fn an_action_on_no_resource_needs_a_star() {
    let of = |resource: &str| identity(&format!(r#""Action": "*", "Resource": "{resource}""#), "kms:ListKeys", "*");
    assert_eq!(of("*"), Applies::Yes);
    assert_eq!(of("arn:aws:kms:*:*:key/*"), NOT_THE_RESOURCE);
}

#[test]
fn a_key_policy_may_leave_out_resource_or_action_and_then_says_nothing() {
    let of = |elements: &str| {
        let statement = format!(r#"{{"Effect": "Allow", "Principal": "*"{elements}}}"#);
        applies(&parse(PolicyKind::Resource, &statement), &user(ALICE))
    };
    assert_eq!(of(r#", "Action": "kms:*", "Resource": "*""#), Applies::Yes);
    assert_eq!(of(r#", "Action": "kms:*""#), NOT_THE_RESOURCE);
    assert_eq!(of(r#", "Resource": "*""#), NOT_THE_ACTION);
    assert_eq!(of(r#", "NotAction": [], "Resource": "*""#), NOT_THE_ACTION);
    assert_eq!(of(r#", "Action": "kms:*", "NotResource": []"#), NOT_THE_RESOURCE);
}

#[test]
fn the_resource_of_a_trust_policy_is_its_role() {
    let statement = format!(r#"{{"Effect": "Allow", "Principal": {{"AWS": "{ALICE}"}}, "Action": "sts:AssumeRole"}}"#);
    let policy = parse(PolicyKind::Trust, &statement);
    let assume = |arn: &str| ask(&policy, &user(arn), "sts:AssumeRole", &Context::default()).remove(0).applies;
    assert_eq!(assume(ALICE), Applies::Yes);
    assert_eq!(assume("arn:aws:iam::111122223333:user/bob"), Applies::No(Mismatch::Principal));
}

#[test]
fn outcomes_come_in_order_with_their_statement() {
    let policy = parse(
        PolicyKind::Identity,
        r#"[{"Sid": "one", "Effect": "Allow", "Action": "kms:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "kms:Decrypt", "Resource": "*"},
            {"Sid": "three", "Effect": "Deny", "Action": "kms:Encrypt", "Resource": "*"}]"#,
    );
    let outcome = |index, sid: Option<&str>, effect, applies| StatementOutcome {
        index,
        sid: sid.map(str::to_owned),
        effect,
        applies,
    };
    assert_eq!(
        ask(&policy, &user(ALICE), "kms:Decrypt", &Context::default()),
        [
            outcome(0, Some("one"), Effect::Allow, Applies::Yes),
            outcome(1, None, Effect::Deny, Applies::Yes),
            outcome(2, Some("three"), Effect::Deny, NOT_THE_ACTION),
        ]
    );
}

#[test]
fn the_first_element_that_does_not_match_is_told() {
    let statement = format!(
        r#"{{"Effect": "Allow", "Principal": {{"AWS": "{ALICE}"}}, "Action": "kms:Decrypt", "Resource": "arn:aws:x",
             "Condition": {{"Bool": {{"a:b": true}}}}}}"#
    );
    let policy = parse(PolicyKind::Resource, &statement);
    let of = |caller: &Caller, action: &str| ask(&policy, caller, action, &Context::default()).remove(0).applies;
    assert_eq!(of(&root(), "kms:Encrypt"), Applies::No(Mismatch::Principal));
    assert_eq!(of(&user(ALICE), "kms:Encrypt"), NOT_THE_ACTION);
    assert_eq!(of(&user(ALICE), "kms:Decrypt"), NOT_THE_RESOURCE);
}
