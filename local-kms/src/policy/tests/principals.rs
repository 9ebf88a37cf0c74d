use super::*;

const YES: Applies = Applies::Yes;
const NOT_NAMED: Applies = Applies::No(Mismatch::Principal);

fn naming(effect: &str, element: &str, principal: &str, caller: &Caller) -> Applies {
    let statement =
        format!(r#"{{"Effect": "{effect}", "{element}": {principal}, "Action": "kms:*", "Resource": "*"}}"#);
    applies(&parse(PolicyKind::Resource, &statement), caller)
}

fn allow(principal: &str, caller: &Caller) -> Applies {
    naming("Allow", "Principal", principal, caller)
}

fn deny_all_but(principal: &str, caller: &Caller) -> Applies {
    naming("Deny", "NotPrincipal", principal, caller)
}

#[test]
fn a_star_is_everyone() {
    for everyone in [r#""*""#, r#"{"AWS": "*"}"#, r#"{"AWS": ["arn:aws:iam::111122223333:user/bob", "*"]}"#] {
        for caller in [user(ALICE), user("arn:aws:iam::444455556666:user/eve"), root(), session()] {
            assert_eq!(allow(everyone, &caller), YES, "{everyone} {caller:?}");
        }
    }
}

#[test]
fn a_user_is_named_by_the_whole_arn() {
    let alice = format!(r#"{{"AWS": "{ALICE}"}}"#);
    assert_eq!(allow(&alice, &user(ALICE)), YES);
    assert_eq!(allow(&alice, &user("arn:aws:iam::111122223333:user/Alice")), NOT_NAMED);
    assert_eq!(allow(&alice, &user("arn:aws:iam::111122223333:user/alice2")), NOT_NAMED);
    assert_eq!(allow(&alice, &user("arn:aws:iam::444455556666:user/alice")), NOT_NAMED);
    assert_eq!(allow(&alice, &root()), NOT_NAMED);
}

#[test]
fn a_role_names_its_sessions() {
    let by_role = r#"{"AWS": "arn:aws:iam::111122223333:role/operator"}"#;
    let by_session = r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/operator/night"}"#;
    let other_session = r#"{"AWS": "arn:aws:sts::111122223333:assumed-role/operator/day"}"#;
    assert_eq!(allow(by_role, &session()), YES);
    assert_eq!(allow(by_session, &session()), YES);
    assert_eq!(allow(other_session, &session()), NOT_NAMED);
}

#[test]
fn an_account_is_allowed_only_by_delegation_but_denied_as_a_whole() {
    for account in [r#"{"AWS": "arn:aws:iam::111122223333:root"}"#, r#"{"AWS": "111122223333"}"#] {
        assert_eq!(allow(account, &root()), YES);
        for caller in [user(ALICE), session()] {
            assert_eq!(allow(account, &caller), Applies::ToAccount);
            assert_eq!(naming("Deny", "Principal", account, &caller), YES);
        }
        assert_eq!(allow(account, &user("arn:aws:iam::444455556666:user/eve")), NOT_NAMED);
        assert_eq!(allow(account, &service("rds.amazonaws.com")), NOT_NAMED);
    }
}

#[test]
fn naming_the_user_beside_the_account_is_no_delegation() {
    let both = format!(r#"{{"AWS": ["111122223333", "{ALICE}"]}}"#);
    assert_eq!(allow(&both, &user(ALICE)), YES);
    assert_eq!(allow(&both, &user("arn:aws:iam::111122223333:user/bob")), Applies::ToAccount);
}

#[test]
fn a_service_is_named_with_or_without_its_region() {
    let anywhere = r#"{"Service": "rds.amazonaws.com"}"#;
    let in_virginia = r#"{"Service": "rds.us-east-1.amazonaws.com"}"#;
    let virginia = service("rds.us-east-1.amazonaws.com");
    assert_eq!(allow(anywhere, &virginia), YES);
    assert_eq!(allow(anywhere, &service("rds.amazonaws.com")), YES);
    assert_eq!(allow(in_virginia, &virginia), YES);
    assert_eq!(allow(in_virginia, &service("rds.eu-west-1.amazonaws.com")), NOT_NAMED);
    assert_eq!(allow(anywhere, &service("rdsdata.us-east-1.amazonaws.com")), NOT_NAMED);
    assert_eq!(allow(anywhere, &service("rds.a.b.amazonaws.com")), NOT_NAMED);
    assert_eq!(allow(anywhere, &service("rds..amazonaws.com")), NOT_NAMED);
    assert_eq!(allow(anywhere, &user(ALICE)), NOT_NAMED);
}

#[test]
fn federated_and_canonical_users_are_nobody_here() {
    assert_eq!(allow(r#"{"Federated": "accounts.google.com"}"#, &user(ALICE)), NOT_NAMED);
    assert_eq!(allow(r#"{"CanonicalUser": "79a5"}"#, &user(ALICE)), NOT_NAMED);
    let beside = format!(r#"{{"Federated": "accounts.google.com", "AWS": "{ALICE}"}}"#);
    assert_eq!(allow(&beside, &user(ALICE)), YES);
}

#[test]
fn not_principal_is_about_everyone_else() {
    let but_alice = format!(r#"{{"AWS": ["{ALICE}", "arn:aws:iam::111122223333:root"]}}"#);
    assert_eq!(deny_all_but(&but_alice, &user(ALICE)), NOT_NAMED);
    assert_eq!(deny_all_but(&but_alice, &root()), NOT_NAMED);
    assert_eq!(deny_all_but(&but_alice, &user("arn:aws:iam::111122223333:user/bob")), YES);
    assert_eq!(deny_all_but(&but_alice, &user("arn:aws:iam::444455556666:user/eve")), YES);
    assert_eq!(deny_all_but(&but_alice, &service("rds.amazonaws.com")), YES);
    assert_eq!(deny_all_but(r#"{"Service": "rds.amazonaws.com"}"#, &service("rds.eu-west-1.amazonaws.com")), NOT_NAMED);
    assert_eq!(deny_all_but(r#"{"AWS": "arn:aws:iam::111122223333:role/operator"}"#, &session()), NOT_NAMED);
    assert_eq!(deny_all_but(r#""*""#, &user(ALICE)), NOT_NAMED);
}

#[test]
fn a_statement_of_an_identity_policy_is_about_whoever_has_it() {
    let statement = r#"{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}"#;
    let policy = parse(PolicyKind::Identity, statement);
    assert_eq!(applies(&policy, &user(ALICE)), YES);
    assert_eq!(applies(&policy, &session()), YES);
}
