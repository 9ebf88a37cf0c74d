//! Principals for the tests, made as an administrator of the machine makes them, and policies in short.

use serde_json::{Value, json};

use super::{Fixture, Refusal};
use crate::admin::{self, Request};
use crate::principals::Caller;
use crate::state::KeyId;
use crate::sts;

pub(super) const ROOT: &str = "arn:aws:iam::111122223333:root";
/// Has no policies: nothing is allowed but what a test allows.
pub(super) const ALICE: &str = "arn:aws:iam::111122223333:user/alice";
/// Of another account.
pub(super) const BOB: &str = "arn:aws:iam::444455556666:user/bob";

/// A statement of a key policy, about every key.
pub(super) fn says(effect: &str, principal: &str, action: &str) -> Value {
    json!({ "Effect": effect, "Principal": { "AWS": principal }, "Action": action, "Resource": "*" })
}

pub(super) fn says_if(effect: &str, principal: &str, action: &str, condition: &Value) -> Value {
    let mut statement = says(effect, principal, action);
    statement["Condition"] = condition.clone();
    statement
}

/// A statement of an identity policy.
pub(super) fn identity(effect: &str, action: &str) -> Value {
    json!({ "Effect": effect, "Action": action, "Resource": "*" })
}

pub(super) fn document(statements: &[Value]) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

/// Whether KMS let a call through, whatever came of it; no error but one of access may come.
pub(super) fn let_through(answer: Result<Value, Refusal>) -> bool {
    match answer {
        Ok(_) => true,
        Err(("AccessDeniedException", _)) => false,
        Err(refusal) => panic!("neither done nor denied: {refusal:?}"),
    }
}

impl Fixture {
    /// With alice, and a key that has the default policy.
    pub(super) fn with_alice() -> (Self, String) {
        let fixture = Self::new();
        fixture.create(ALICE);
        let key = fixture.create_key();
        (fixture, key)
    }

    fn administer(&self, request: &Request) {
        admin::handle(&self.kms, request).unwrap_or_else(|error| panic!("{request:?}: {error}"));
    }

    pub(super) fn create(&self, name: &str) {
        self.administer(&Request::CreatePrincipal {
            name: name.to_owned(),
            acting_for: None,
            trusts: Vec::new(),
            trust_policy: None,
        });
    }

    pub(super) fn create_role(&self, name: &str, trusts: &str) {
        self.administer(&Request::CreatePrincipal {
            name: format!("role/{name}"),
            acting_for: None,
            trusts: vec![trusts.to_owned()],
            trust_policy: None,
        });
    }

    /// A service that calls for somebody; what it is called by.
    pub(super) fn create_acting(&self, service: &str, whom: &str) -> String {
        let service = format!("{service}.us-east-1.amazonaws.com");
        self.administer(&Request::CreatePrincipal {
            name: service.clone(),
            acting_for: Some(whom.to_owned()),
            trusts: Vec::new(),
            trust_policy: None,
        });
        format!("{service} for {whom}")
    }

    /// In place of the identity policy that the principal had from here before.
    pub(super) fn attach(&self, who: &str, statements: &[Value]) {
        self.administer(&Request::AttachPolicy {
            principal: who.to_owned(),
            policy_name: "of-the-test".to_owned(),
            document: Some(document(statements)),
        });
    }

    /// Puts a key policy without asking whether anybody may.
    pub(super) fn set_policy(&self, key: &str, statements: &[Value]) {
        let id: KeyId = key.parse().unwrap();
        self.kms.state.write(|writing| writing.put_key_policy(id, &document(statements))).unwrap();
    }

    pub(super) fn may(&self, who: &str, operation: &str, request: &Value) -> bool {
        let_through(self.call_as(who, operation, request))
    }

    pub(super) fn may_by(&self, caller: &Caller, operation: &str, request: &Value) -> bool {
        let_through(self.raw_by(caller, operation, request.to_string().as_bytes()))
    }

    pub(super) fn may_encrypt(&self, who: &str, key: &str) -> bool {
        self.may(who, "Encrypt", &json!({ "KeyId": Self::arn(key), "Plaintext": "c2VjcmV0" }))
    }

    pub(super) fn why_not_encrypt(&self, who: &str, key: &str) -> String {
        let request = json!({ "KeyId": Self::arn(key), "Plaintext": "c2VjcmV0" });
        let (code, message) = self.call_as(who, "Encrypt", &request).unwrap_err();
        assert_eq!(code, "AccessDeniedException");
        message
    }

    /// A session of `role`, assumed by `who`; `None` if they may not.
    pub(super) fn session(&self, who: &str, role: &str, name: &str, policy: Option<&str>) -> Option<Caller> {
        let caller = self.kms.caller_named(who);
        let policy = policy.map_or_else(String::new, |policy| format!("&Policy={policy}"));
        let form = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName={name}&RoleArn=arn:aws:iam::111122223333:role/{role}{policy}"
        );
        let (status, answer) = sts::answer(&self.kms, &self.origin(&caller), form.as_bytes());
        if !status.is_success() {
            assert!(answer.contains("<Code>AccessDenied</Code>"), "{}", *answer);
            return None;
        }
        let element = |name: &str| {
            let after = answer.split_once(&format!("<{name}>")).unwrap().1;
            after.split_once('<').unwrap().0.to_owned()
        };
        let identified = self.kms.identify(&element("AccessKeyId"), Some(&element("SessionToken")));
        Some(identified.unwrap_or_else(|error| panic!("{error}")).1)
    }
}
