//! What is stored of a key, an alias and a user; JSON in the tables.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{KeyId, MaterialId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) id: KeyId,
    pub(crate) description: String,
    pub(crate) created: Timestamp,
    pub(crate) state: KeyState,
    /// The material that encrypts; its sealed bytes are in a table of their own.
    pub(crate) material: MaterialId,
    pub(crate) tags: Vec<Tag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum KeyState {
    Enabled,
    Disabled,
    /// Until the date the key can be had back, disabled; from then on it does not exist.
    PendingDeletion {
        deletion_date: Timestamp,
    },
}

impl KeyState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion { .. } => "PendingDeletion",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) tag_key: String,
    pub(crate) tag_value: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AliasRecord {
    pub(crate) target: KeyId,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
}

/// Who may sign requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UserRecord {
    pub(crate) name: String,
    /// What CloudTrail calls the principal id, `AIDA…`.
    pub(crate) principal_id: String,
    pub(crate) access_key_id: String,
    /// Under the root key.
    pub(crate) sealed_secret: Vec<u8>,
}
