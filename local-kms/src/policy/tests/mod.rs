//! What the module promises, element by element, and a comparison with another implementation.

mod conditions;
mod differential;
mod documents;
mod principals;
mod statements;
mod variables;
mod wildcards;

use super::{Applies, Caller, Context, Effect, Mismatch, Policy, PolicyKind, Request, StatementOutcome};

const ACCOUNT: &str = "111122223333";
const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ALICE: &str = "arn:aws:iam::111122223333:user/alice";

fn user(arn: &str) -> Caller {
    let account_id = arn.split(':').nth(4).unwrap().to_owned();
    Caller { account_id, arns: vec![arn.to_owned()], service: None, is_account_root: false }
}

fn root() -> Caller {
    Caller { is_account_root: true, ..user("arn:aws:iam::111122223333:root") }
}

fn session() -> Caller {
    let arns = vec![
        "arn:aws:sts::111122223333:assumed-role/operator/night".to_owned(),
        "arn:aws:iam::111122223333:role/operator".to_owned(),
    ];
    Caller { account_id: ACCOUNT.to_owned(), arns, service: None, is_account_root: false }
}

fn service(name: &str) -> Caller {
    Caller { account_id: ACCOUNT.to_owned(), arns: Vec::new(), service: Some(name.to_owned()), is_account_root: false }
}

fn context(pairs: &[(&str, &str)]) -> Context {
    let mut context = Context::default();
    for (key, value) in pairs {
        context.insert(*key, *value);
    }
    context
}

fn parse(kind: PolicyKind, statement: &str) -> Policy {
    let text = format!(r#"{{"Version": "2012-10-17", "Statement": {statement}}}"#);
    Policy::parse(&text, kind).unwrap()
}

fn refusal(kind: PolicyKind, text: &str) -> String {
    Policy::parse(text, kind).unwrap_err().to_string()
}

fn ask(policy: &Policy, caller: &Caller, action: &str, context: &Context) -> Vec<StatementOutcome> {
    policy.evaluate(&Request { caller, action, resource: KEY, context })
}

/// Of a policy with one statement, asked for `kms:Decrypt` without condition keys.
fn applies(policy: &Policy, caller: &Caller) -> Applies {
    ask(policy, caller, "kms:Decrypt", &Context::default()).remove(0).applies
}
