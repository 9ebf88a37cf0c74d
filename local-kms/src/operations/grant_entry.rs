//! A grant as the List operations show it; never its tokens.

use serde::Serialize;

use super::key_metadata::EpochSeconds;
use crate::account::Account;
use crate::state::{GrantConstraints, GrantId, GrantRecord};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Page {
    pub(super) grants: Vec<GrantEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_marker: Option<String>,
    pub(super) truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GrantEntry {
    key_id: String,
    grant_id: GrantId,
    name: String,
    creation_date: EpochSeconds,
    #[serde(flatten)]
    principals: Principals,
    issuing_account: String,
    operations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<GrantConstraints>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Principals {
    #[serde(skip_serializing_if = "Option::is_none")]
    grantee_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grantee_service_principal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retiring_principal: Option<String>,
}

impl Page {
    pub(super) fn new(grants: Vec<GrantRecord>, next_marker: Option<String>, account: &Account) -> Self {
        let grants = grants.into_iter().map(|grant| GrantEntry::of(grant, account)).collect();
        Self { grants, truncated: next_marker.is_some(), next_marker }
    }
}

impl GrantEntry {
    fn of(grant: GrantRecord, account: &Account) -> Self {
        let to_service = grant.constraints.source_arn.is_some();
        Self {
            key_id: account.key_arn(grant.key),
            grant_id: grant.id,
            name: grant.name.unwrap_or_default(),
            creation_date: EpochSeconds(grant.created),
            principals: Principals {
                grantee_principal: (!to_service).then(|| grant.grantee.clone()),
                grantee_service_principal: to_service.then_some(grant.grantee),
                retiring_principal: grant.retiring,
            },
            issuing_account: format!("arn:aws:iam::{}:root", grant.issuing_account_id),
            operations: grant.operations,
            constraints: Some(grant.constraints).filter(|constraints| *constraints != GrantConstraints::default()),
        }
    }
}
