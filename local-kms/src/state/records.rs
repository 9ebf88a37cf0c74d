//! What is stored of keys, aliases, grants and principals; JSON in the tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{GrantId, KeyId, MaterialId};
use crate::encryption_context::EncryptionContext;
use crate::principals::PrincipalId;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    pub(crate) id: KeyId,
    pub(crate) description: String,
    pub(crate) created: Timestamp,
    pub(crate) state: KeyState,
    /// The material that encrypts; its sealed bytes are in a table of their own. `None` before the first import.
    pub(crate) material: Option<MaterialId>,
    pub(crate) tags: Vec<Tag>,
    #[serde(default)]
    pub(crate) manager: KeyManager,
    #[serde(default)]
    pub(crate) origin: KeyOrigin,
    #[serde(default)]
    pub(crate) rotation: Option<AutomaticRotation>,
    /// Every material the key ever had, oldest first.
    #[serde(default)]
    pub(crate) materials: Vec<MaterialRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum KeyState {
    Enabled,
    Disabled,
    /// Until the date the key can be had back, disabled; from then on it does not exist.
    PendingDeletion {
        deletion_date: Timestamp,
    },
    /// One of its imported materials is not here.
    PendingImport,
}

/// Who the key belongs to: the account, or the AWS service that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyManager {
    #[default]
    Customer,
    Aws,
}

/// Where the material comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum KeyOrigin {
    #[default]
    AwsKms,
    External,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AutomaticRotation {
    pub(crate) period_days: i64,
    pub(crate) next: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MaterialRecord {
    pub(crate) id: MaterialId,
    pub(crate) made: MaterialMade,
    /// When it became the material that encrypts; `None` while it waits for RotateKeyOnDemand.
    pub(crate) current_since: Option<Timestamp>,
    /// Of imported material only.
    #[serde(default)]
    pub(crate) import: Option<ImportRecord>,
}

/// What put a material in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MaterialMade {
    WithTheKey,
    ByAutomaticRotation,
    OnDemand,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ImportRecord {
    /// Whether its bytes are here: not after it was deleted or expired.
    pub(crate) present: bool,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) description: Option<String>,
}

impl KeyState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion { .. } => "PendingDeletion",
            Self::PendingImport => "PendingImport",
        }
    }
}

impl KeyOrigin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AwsKms => "AWS_KMS",
            Self::External => "EXTERNAL",
        }
    }
}

impl KeyRecord {
    /// Whether every imported material is here; keys whose material was made here always have it.
    pub(crate) fn has_all_material(&self) -> bool {
        let missing = |material: &MaterialRecord| material.import.as_ref().is_some_and(|import| !import.present);
        self.material.is_some() && !self.materials.iter().any(missing)
    }

    pub(crate) fn material_record(&mut self, id: MaterialId) -> Option<&mut MaterialRecord> {
        self.materials.iter_mut().find(|material| material.id == id)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) tag_key: String,
    pub(crate) tag_value: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AliasRecord {
    pub(crate) target: KeyId,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

/// What a grantee may do with one key. Grants only allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantRecord {
    pub(crate) id: GrantId,
    pub(crate) key: KeyId,
    pub(crate) created: Timestamp,
    pub(crate) name: Option<String>,
    /// An ARN, or the name of a service.
    pub(crate) grantee: String,
    pub(crate) retiring: Option<String>,
    /// The account that issued it, which may always retire it.
    pub(crate) issuing_account_id: String,
    pub(crate) operations: Vec<String>,
    #[serde(default)]
    pub(crate) constraints: GrantConstraints,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GrantConstraints {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encryption_context_equals: Option<EncryptionContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encryption_context_subset: Option<EncryptionContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_arn: Option<String>,
}

/// Someone who may call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PrincipalRecord {
    pub(crate) id: PrincipalId,
    /// What CloudTrail calls the principal id: `AIDA…`, `AROA…`, for the root the account id.
    pub(crate) unique_id: String,
    pub(crate) created: Timestamp,
    /// Identity policies: name to document.
    pub(crate) policies: BTreeMap<String, String>,
    /// Who may assume it, of a role.
    pub(crate) trust_policy: Option<String>,
}

/// An access key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CredentialRecord {
    pub(crate) access_key_id: String,
    pub(crate) principal: PrincipalId,
    /// Under the root key.
    pub(crate) sealed_secret: Vec<u8>,
}

/// The last successful use of a key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastUsage {
    pub(crate) operation: String,
    pub(crate) at: Timestamp,
    pub(crate) event_id: String,
    pub(crate) request_id: String,
}
