//! Principals, from the administrator's side. Each change is in the state, and in the profiles, when it is answered.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::AdminError;
use crate::error::KmsError;
use crate::init::ADMIN;
use crate::kms::Kms;
use crate::policy::{Policy, PolicyKind};
use crate::principals::{Directory, Principal, PrincipalId, new_principal};
use crate::profiles;
use crate::state::StateError;

/// IAM: the size of a role's trust policy and of its policies is 2048 and 10240 characters; here one limit serves.
const MAX_POLICY_LEN: usize = 32 * 1024;

pub(super) fn create(
    kms: &Kms,
    name: &str,
    acting_for: Option<&str>,
    trusts: &[String],
    trust_policy: Option<&str>,
) -> Result<Value, AdminError> {
    let id = new_id(kms, name, acting_for)?;
    let directory = kms.directory();
    if directory.principal(&id).is_some() {
        return Err(AdminError::Usage(format!("there is a principal {id} already")));
    }
    if let Some(other) = directory.principals().find(|other| other.record.id.profile() == id.profile()) {
        let (profile, other) = (id.profile(), &other.record.id);
        return Err(AdminError::Usage(format!(
            "{other} has the profile {profile}, which {id} would need; choose another name"
        )));
    }
    let trust_policy = trust(&id, trusts, trust_policy)?;
    let made = new_principal(&id, BTreeMap::new(), &kms.root_key);
    let (mut principal, credential) = made.map_err(KmsError::from)?;
    principal.trust_policy = trust_policy;
    kms.state
        .write(|writing| {
            writing.put_principal(&principal)?;
            credential.iter().try_for_each(|credential| writing.put_credential(credential))
        })
        .map_err(failed)?;
    publish(kms)?;
    let directory = kms.directory();
    directory.principal(&id).map(|principal| shown(principal, &directory)).ok_or_else(|| unknown(&id))
}

fn new_id(kms: &Kms, name: &str, acting_for: Option<&str>) -> Result<PrincipalId, AdminError> {
    let id = parse(name)?;
    let Some(whom) = acting_for else { return Ok(id) };
    let PrincipalId::Service { name: service, acting_for: None } = id else {
        return Err(AdminError::Usage(
            "only a service acts for somebody: name it as rds.us-east-1.amazonaws.com".to_owned(),
        ));
    };
    let whom = parse(whom)?;
    if matches!(whom, PrincipalId::Service { .. }) {
        return Err(AdminError::Usage("a service acts for a user, a role or the root, not for a service".to_owned()));
    }
    if kms.directory().principal(&whom).is_none() {
        return Err(unknown(&whom));
    }
    // kms:ViaService always has the region in it.
    let regional = match service.split('.').collect::<Vec<_>>().as_slice() {
        [short, "amazonaws", "com"] => format!("{short}.{}.amazonaws.com", kms.account.region),
        _ => service,
    };
    Ok(PrincipalId::Service { name: regional, acting_for: Some(Box::new(whom)) })
}

/// A role says who may assume it; nobody else does.
fn trust(id: &PrincipalId, trusts: &[String], policy: Option<&str>) -> Result<Option<String>, AdminError> {
    let is_role = matches!(id, PrincipalId::Role { .. });
    let text = match (trusts, policy) {
        ([], None) if is_role => {
            return Err(AdminError::Usage(format!("say who may assume {id}: --trusts NAME, or --trust-policy FILE")));
        }
        ([], None) => return Ok(None),
        _ if !is_role => return Err(AdminError::Usage(format!("{id} is no role: only roles are assumed"))),
        (_, Some(policy)) => policy.to_owned(),
        (trusts, None) => {
            let arns = trusts.iter().map(|name| Ok(parse(name)?.arn())).collect::<Result<Vec<_>, AdminError>>()?;
            json!({
                "Version": "2012-10-17",
                "Statement": [{ "Effect": "Allow", "Principal": { "AWS": arns }, "Action": "sts:AssumeRole" }],
            })
            .to_string()
        }
    };
    check(&text, PolicyKind::Trust)?;
    Ok(Some(text))
}

fn check(text: &str, kind: PolicyKind) -> Result<(), AdminError> {
    if text.len() > MAX_POLICY_LEN {
        return Err(AdminError::Usage(format!("the policy has more than {MAX_POLICY_LEN} bytes")));
    }
    Policy::parse(text, kind).map(drop).map_err(|error| AdminError::Usage(format!("the policy is malformed: {error}")))
}

pub(super) fn list(kms: &Kms) -> Value {
    let directory = kms.directory();
    json!({ "principals": directory.principals().map(|principal| shown(principal, &directory)).collect::<Vec<_>>() })
}

/// Whoever acts for the principal goes with it.
pub(super) fn delete(kms: &Kms, name: &str) -> Result<Value, AdminError> {
    let directory = kms.directory();
    let id = find(&directory, name)?.record.id.clone();
    if id == PrincipalId::user(ADMIN) {
        return Err(AdminError::Usage(format!("{id} is the administrator: without it nobody could manage the keys")));
    }
    let acts_for_it = |other: &&std::sync::Arc<Principal>| matches!(&other.record.id, PrincipalId::Service { acting_for: Some(whom), .. } if **whom == id);
    let others: Vec<PrincipalId> =
        directory.principals().filter(acts_for_it).map(|other| other.record.id.clone()).collect();
    kms.state
        .write(|writing| {
            writing.remove_principal(&id)?;
            others.iter().try_for_each(|other| writing.remove_principal(other))
        })
        .map_err(failed)?;
    publish(kms)?;
    let deleted = [&[id], others.as_slice()].concat();
    Ok(json!({ "deleted": deleted }))
}

pub(super) fn attach_policy(
    kms: &Kms,
    principal: &str,
    policy_name: &str,
    document: Option<&str>,
) -> Result<Value, AdminError> {
    let id = find(&kms.directory(), principal)?.record.id.clone();
    if matches!(id, PrincipalId::Service { .. } | PrincipalId::Root { .. }) {
        return Err(AdminError::Usage(format!(
            "{id} has no identity policies; a service that acts for somebody has theirs"
        )));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if !(1..=128).contains(&policy_name.len()) || !policy_name.chars().all(allowed) {
        return Err(AdminError::Usage(format!("`{policy_name}` is no name for a policy: letters, digits and +=,.@_-")));
    }
    document.map(|text| check(text, PolicyKind::Identity)).transpose()?;
    let gone = kms.state.write(|writing| {
        let Some(mut record) = writing.principal(&id)? else { return Ok(false) };
        let was_there = match document {
            Some(text) => {
                record.policies.insert(policy_name.to_owned(), text.to_owned());
                true
            }
            None => record.policies.remove(policy_name).is_some(),
        };
        writing.put_principal(&record)?;
        Ok(was_there)
    });
    if !gone.map_err(failed)? {
        return Err(AdminError::NotFound(format!("{id} has no policy {policy_name}")));
    }
    kms.reload_directory()?;
    let directory = kms.directory();
    directory.principal(&id).map(|principal| shown(principal, &directory)).ok_or_else(|| unknown(&id))
}

pub(super) fn find<'a>(directory: &'a Directory, name: &str) -> Result<&'a std::sync::Arc<Principal>, AdminError> {
    let id = parse(name)?;
    // A profile names its principal, too; that of a service acting for somebody has no shorter name.
    let by_profile = || directory.principals().find(|principal| principal.record.id.profile() == name);
    directory.principal(&id).or_else(by_profile).ok_or_else(|| unknown(&id))
}

fn parse(name: &str) -> Result<PrincipalId, AdminError> {
    name.parse().map_err(|error: crate::principals::NoPrincipal| AdminError::Usage(error.to_string()))
}

fn unknown(id: &PrincipalId) -> AdminError {
    AdminError::NotFound(format!("there is no principal {id}; `envol kms principal list` shows who there is"))
}

fn failed(error: StateError) -> AdminError {
    KmsError::from(error).into()
}

/// Makes a change known to the server and to AWS clients.
fn publish(kms: &Kms) -> Result<(), AdminError> {
    kms.reload_directory()?;
    let written = profiles::write(&kms.dir, &kms.account.region, &kms.directory(), true);
    written.map_err(|error| {
        AdminError::Failed(format!("the change is made, but the AWS profiles are not written: {error}"))
    })
}

fn shown(principal: &Principal, directory: &Directory) -> Value {
    let record = &principal.record;
    json!({
        "principal": record.id,
        "arn": record.id.arn(),
        "profile": record.id.profile(),
        "access_key_id": directory.access_key_of(&record.id).map(|key| &key.id),
        "policies": record.policies.keys().collect::<Vec<_>>(),
    })
}
