//! May this principal do this, and why? The decision that the server would make, with every statement and grant that
//! had a part in it, or why it had none.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AdminError, Simulation, principals};
use crate::audit::Origin;
use crate::authorization::{Basis, Decision, Denial, GrantOutcome, PolicySource, Question, Verdict, decide};
use crate::encryption_context::EncryptionContext;
use crate::key_reference::KeyReference;
use crate::kms::Kms;
use crate::operations::{describe_encryption_context, describe_key, names, permission, rules};
use crate::policy::{Applies, Context, Effect, Mismatch, StatementOutcome};
use crate::principals::{Caller, PrincipalId, Session};
use crate::state::{GrantRecord, GrantsFor, KeyRecord, KeyState, Lookup, Reading};

/// Permissions of operations that concern no key.
const WITHOUT_KEY: [&str; 5] = ["CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants"];

pub(super) fn run(kms: &Kms, simulation: &Simulation) -> Result<Value, AdminError> {
    let action = action(&simulation.action)?;
    let caller = caller(kms, simulation)?;
    let reading = kms.state.read_newest().map_err(crate::error::KmsError::from)?;
    let key = key(kms, &reading, simulation.key.as_deref(), action)?;
    let encryption_context = EncryptionContext(simulation.encryption_context.clone());
    let context = context(kms, &caller, simulation, &reading, key.as_ref(), &encryption_context)?;
    let resource = key.as_ref().map_or_else(|| "*".to_owned(), |key| kms.account.key_arn(key.id));
    let rules = key.as_ref().map(|key| rules(kms, &reading, key, &caller, GrantsFor::Any)).transpose()?;
    let question = Question {
        account_id: &kms.account.account_id,
        caller: &caller,
        action: &permission(action),
        resource: &resource,
        context: &context,
        encryption_context: &encryption_context,
        child: None,
    };
    let verdict = decide(&question, rules.as_ref());
    Ok(shown(&verdict, &caller, &permission(action), &resource, key.as_ref()))
}

fn action(text: &str) -> Result<&str, AdminError> {
    let name = text.strip_prefix("kms:").unwrap_or(text);
    if name == "ReEncrypt" {
        return Err(AdminError::Usage(
            "ReEncrypt takes two permissions: kms:ReEncryptFrom on one key, kms:ReEncryptTo on the other".to_owned(),
        ));
    }
    if name == "RetireGrant" {
        return Err(AdminError::Usage(
            "the right to retire a grant comes from that grant, not from a policy: `aws kms list-grants` shows who may"
                .to_owned(),
        ));
    }
    if names().any(|known| known == name) || matches!(name, "ReEncryptFrom" | "ReEncryptTo") {
        return Ok(name);
    }
    Err(AdminError::Usage(format!("the KMS has no permission kms:{name}; write it as in kms:Decrypt")))
}

fn caller(kms: &Kms, simulation: &Simulation) -> Result<Caller, AdminError> {
    let directory = kms.directory();
    let principal = principals::find(&directory, &simulation.principal)?;
    let session = matches!(principal.record.id, PrincipalId::Role { .. }).then(|| Session {
        name: "simulation".to_owned(),
        issued: Timestamp::now(),
        policy: None,
    });
    let caller = kms.caller(&directory, principal, String::new(), session);
    let mut caller = caller.map_err(|error| AdminError::Failed(error.to_string()))?;
    if let Some(service) = &simulation.via_service {
        caller.via_service = Some(service.clone());
    }
    Ok(caller)
}

fn key(kms: &Kms, reading: &Reading, text: Option<&str>, action: &str) -> Result<Option<KeyRecord>, AdminError> {
    let Some(text) = text else {
        return match WITHOUT_KEY.contains(&action) {
            true => Ok(None),
            false => Err(AdminError::Usage(format!("kms:{action} is about a key: say which by --key"))),
        };
    };
    if WITHOUT_KEY.contains(&action) {
        return Err(AdminError::Usage(format!("kms:{action} is about no key: leave --key out")));
    }
    let missing =
        || AdminError::NotFound(format!("there is no key {text}; `aws kms list-aliases` and `list-keys` show which"));
    let id = match KeyReference::parse(text, &kms.account)? {
        KeyReference::Key(id) => id,
        KeyReference::Alias(name) => {
            reading.alias(&name).map_err(crate::error::KmsError::from)?.ok_or_else(missing)?.target
        }
    };
    reading.key(id).map_err(crate::error::KmsError::from)?.map(Some).ok_or_else(missing)
}

fn context(
    kms: &Kms,
    caller: &Caller,
    simulation: &Simulation,
    reading: &Reading,
    key: Option<&KeyRecord>,
    encryption_context: &EncryptionContext,
) -> Result<Context, AdminError> {
    let mut context = Context::default();
    Origin {
        caller,
        source_ip: Ipv4Addr::LOCALHOST.to_string(),
        user_agent: Some("envol".to_owned()),
        request_id: String::new(),
        received: kms.clock.unmoved(),
        region: &kms.account.region,
    }
    .describe(&mut context);
    caller.describe(&mut context);
    if let Some(key) = key {
        describe_key(key, reading, &mut context)?;
    }
    if let Some(alias) = simulation.key.as_ref().filter(|key| key.starts_with("alias/")) {
        context.insert("kms:RequestAlias", alias.as_str());
    }
    describe_encryption_context(encryption_context, &mut context);
    for (name, value) in &simulation.condition_keys {
        context.insert(name.as_str(), value.as_str());
    }
    Ok(context)
}

fn shown(verdict: &Verdict, caller: &Caller, action: &str, resource: &str, key: Option<&KeyRecord>) -> Value {
    let statements = verdict.policies.iter().flat_map(|policy| {
        let name = match (policy.source, &policy.name) {
            (PolicySource::Resource, _) => "key policy".to_owned(),
            (PolicySource::Identity, name) => {
                format!("policy {} of {}", name.as_deref().unwrap_or_default(), caller.id())
            }
            (PolicySource::Session, _) => "session policy".to_owned(),
        };
        policy.statements.iter().map(move |outcome| statement(&name, outcome))
    });
    let allowed = matches!(verdict.decision, Decision::Allowed(_));
    let state = key.map(|key| key.state.name());
    json!({
        "allowed": allowed,
        "reason": reason(verdict, caller, action),
        "principal": caller.arn(),
        "via_service": caller.via_service,
        "action": action,
        "resource": resource,
        "key_state": state,
        // Permission is one thing, the state of the key another.
        "key_usable": key.is_none_or(|key| key.state == KeyState::Enabled),
        "statements": statements.collect::<Vec<_>>(),
        "grants": verdict.grants.iter().map(|(grant, outcome)| grant_shown(grant, *outcome)).collect::<Vec<_>>(),
    })
}

fn reason(verdict: &Verdict, caller: &Caller, action: &str) -> String {
    match &verdict.decision {
        Decision::Allowed(Basis::KeyPolicy) => "the key policy allows it".to_owned(),
        Decision::Allowed(Basis::Grant) => {
            let allows = verdict.grants.iter().find(|(_, outcome)| *outcome == GrantOutcome::Allows);
            allows.map_or_else(String::new, |(grant, _)| format!("grant {} allows it", grant.id))
        }
        Decision::Allowed(Basis::IdentityPolicy) if matches!(caller.id(), PrincipalId::Root { .. }) => {
            "the root of the account may".to_owned()
        }
        Decision::Allowed(Basis::IdentityPolicy)
            if verdict.policies.iter().any(|p| p.source == PolicySource::Resource) =>
        {
            "the key policy leaves it to IAM, and an identity policy allows it".to_owned()
        }
        Decision::Allowed(Basis::IdentityPolicy) => "an identity policy allows it".to_owned(),
        Decision::Denied(denial @ Denial::NotAllowedBy(PolicySource::Identity)) => {
            format!("{} (the key policy leaves it to IAM)", denial.reason(action))
        }
        Decision::Denied(denial) => denial.reason(action),
    }
}

fn statement(policy: &str, outcome: &StatementOutcome) -> Value {
    let (applies, conditions) = match &outcome.applies {
        Applies::Yes => ("applies", Vec::new()),
        Applies::ToAccount => ("leaves it to IAM", Vec::new()),
        Applies::No(Mismatch::Principal) => ("names other principals", Vec::new()),
        Applies::No(Mismatch::Action) => ("is about other actions", Vec::new()),
        Applies::No(Mismatch::Resource) => ("is about other resources", Vec::new()),
        Applies::No(Mismatch::Conditions(failed)) => {
            let failed = failed.iter().map(|condition| {
                json!({
                    "operator": condition.operator,
                    "key": condition.key,
                    "wanted": condition.wanted,
                    "actual": condition.actual,
                })
            });
            ("has conditions that are not met", failed.collect())
        }
    };
    json!({
        "policy": policy,
        "sid": outcome.sid,
        "index": outcome.index,
        "effect": match outcome.effect { Effect::Allow => "Allow", Effect::Deny => "Deny" },
        "outcome": applies,
        "failed_conditions": conditions,
    })
}

fn grant_shown(grant: &GrantRecord, outcome: GrantOutcome) -> Value {
    json!({
        "grant_id": grant.id,
        "name": grant.name,
        "operations": grant.operations,
        "constraints": grant.constraints,
        "outcome": match outcome {
            GrantOutcome::Allows => "allows it",
            GrantOutcome::OtherOperation => "is about other operations",
            GrantOutcome::OtherEncryptionContext => "is for another encryption context",
            GrantOutcome::WouldAllowMore => "would allow more than it has",
            GrantOutcome::OtherSource => "is for requests of an AWS resource",
        },
    })
}
