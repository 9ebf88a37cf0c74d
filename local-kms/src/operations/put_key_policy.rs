//! PutKeyPolicy: who may use and manage a key, in place of what it said before.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::{Done, Operation};
use crate::authorization::ResourceRules;
use crate::error::KmsError;
use crate::key_policy::POLICY_NAME;
use crate::policy::{Policy, PolicyKind};
use crate::state::{KeyRecord, Lookup};

/// AWS: the size of a key policy.
const MAX_POLICY_LEN: usize = 32 * 1024;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PutKeyPolicy {
    key_id: Option<String>,
    policy_name: Option<String>,
    policy: Option<String>,
    bypass_policy_lockout_safety_check: Option<bool>,
}

impl Operation for PutKeyPolicy {
    const NAME: &'static str = "PutKeyPolicy";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({
            "keyId": self.key_id,
            "policyName": self.policy_name,
            "policy": self.policy,
            "bypassPolicyLockoutSafetyCheck": self.bypass_policy_lockout_safety_check,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constrain_policy_name(&mut constraints, self.policy_name.as_deref());
        constraints.required("policy", self.policy.as_ref());
        constrain_policy(&mut constraints, self.policy.as_deref());
        constraints.check()?;
        check_policy_name(self.policy_name.as_deref())?;
        let bypasses = self.bypass_policy_lockout_safety_check == Some(true);
        call.facts.insert("kms:BypassPolicyLockoutSafetyCheck", bypasses.to_string());
        call.facts.insert("kms:PolicyName", POLICY_NAME);
        let kms = call.kms;
        kms.state.write(|writing| {
            let key = call.key(writing, key_id)?;
            let policy = check_policy(call, writing, self.policy.as_deref().unwrap_or_default(), bypasses, &key)?;
            writing.put_key_policy(key.id, policy)?;
            Ok(Done {})
        })
    }
}

pub(super) fn constrain_policy(constraints: &mut Constraints, policy: Option<&str>) {
    constraints.blob_length("policy", policy.map(str::as_bytes), 1..=131_072);
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}');
    if policy.is_some_and(|policy| !policy.chars().all(allowed)) {
        constraints.characters("policy", "…", |_| false, "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+");
    }
}

pub(super) fn constrain_policy_name(constraints: &mut Constraints, name: Option<&str>) {
    constraints.length("policyName", name, 1..=128);
}

pub(super) fn check_policy_name(name: Option<&str>) -> Result<(), KmsError> {
    match name {
        None | Some(POLICY_NAME) => Ok(()),
        Some(other) => Err(KmsError::PolicyNotFound(other.to_owned())),
    }
}

/// The policy, if it is one and, unless told otherwise, lets the caller change it again.
pub(super) fn check_policy<'p>(
    call: &Call,
    lookup: &impl Lookup,
    text: &'p str,
    bypasses_safety_check: bool,
    key: &KeyRecord,
) -> Result<&'p str, KmsError> {
    if text.len() > MAX_POLICY_LEN {
        return Err(KmsError::LimitExceeded(format!(
            "The policy is {} bytes long, and the limit is {MAX_POLICY_LEN}.",
            text.len()
        )));
    }
    let policy =
        Policy::parse(text, PolicyKind::Resource).map_err(|error| KmsError::MalformedPolicy(error.to_string()))?;
    let rules = ResourceRules { policy, grants: Vec::new() };
    if !bypasses_safety_check && call.would_be_denied(lookup, &rules, "PutKeyPolicy", key)? {
        return Err(KmsError::MalformedPolicy(
            "The new key policy will not allow you to update the key policy in the future.".to_owned(),
        ));
    }
    Ok(text)
}
