//! KeyMetadata: what CreateKey and DescribeKey say of a key.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::cryptography::SYMMETRIC_DEFAULT;
use crate::account::Account;
use crate::audit::long_date;
use crate::error::KmsError;
use crate::state::{KeyManager, KeyRecord, KeyState};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyMetadata {
    #[serde(rename = "AWSAccountId")]
    aws_account_id: String,
    key_id: String,
    arn: String,
    creation_date: EpochSeconds,
    enabled: bool,
    description: String,
    key_usage: &'static str,
    key_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_date: Option<EpochSeconds>,
    origin: &'static str,
    key_manager: &'static str,
    customer_master_key_spec: &'static str,
    key_spec: &'static str,
    encryption_algorithms: [&'static str; 1],
    multi_region: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_key_material_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_to: Option<EpochSeconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration_model: Option<&'static str>,
}

/// A date as AWS JSON 1.1 writes it: seconds since the epoch, with a fraction.
#[derive(Clone, Copy)]
pub(super) struct EpochSeconds(pub(super) Timestamp);

impl Serialize for EpochSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_duration().as_secs_f64())
    }
}

pub(super) fn expiration_model(expires: Option<Timestamp>) -> &'static str {
    if expires.is_some() { "KEY_MATERIAL_EXPIRES" } else { "KEY_MATERIAL_DOES_NOT_EXPIRE" }
}

impl KeyMetadata {
    pub(super) fn of(key: &KeyRecord, account: &Account) -> Self {
        let deletion_date = match key.state {
            KeyState::PendingDeletion { deletion_date } => Some(EpochSeconds(deletion_date)),
            KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport => None,
        };
        let current = key.materials.iter().find(|material| Some(material.id) == key.material);
        let import = current.and_then(|material| material.import.as_ref()).filter(|import| import.present);
        Self {
            aws_account_id: account.account_id.clone(),
            key_id: key.id.to_string(),
            arn: account.key_arn(key.id),
            creation_date: EpochSeconds(key.created),
            enabled: key.state == KeyState::Enabled,
            description: key.description.clone(),
            key_usage: "ENCRYPT_DECRYPT",
            key_state: key.state.name(),
            deletion_date,
            origin: key.origin.name(),
            key_manager: match key.manager {
                KeyManager::Customer => "CUSTOMER",
                KeyManager::Aws => "AWS",
            },
            customer_master_key_spec: SYMMETRIC_DEFAULT,
            key_spec: SYMMETRIC_DEFAULT,
            encryption_algorithms: [SYMMETRIC_DEFAULT],
            multi_region: false,
            current_key_material_id: key.material.map(|id| id.to_string()),
            valid_to: import.and_then(|import| import.expires).map(EpochSeconds),
            expiration_model: import.map(|import| expiration_model(import.expires)),
        }
    }

    /// The same in a CloudTrail record: names begin in lower case (`aWSAccountId`), dates are words.
    pub(super) fn for_trail(&self) -> Result<Value, KmsError> {
        let metadata = serde_json::to_value(self).map_err(|error| KmsError::Internal(Box::new(error)))?;
        let Value::Object(members) = metadata else {
            return Ok(Value::Null);
        };
        let lower_first = |name: String| name[..1].to_ascii_lowercase() + &name[1..];
        let mut members: serde_json::Map<_, _> = members.into_iter().map(|(k, v)| (lower_first(k), v)).collect();
        let dates = [
            ("creationDate", Some(self.creation_date)),
            ("deletionDate", self.deletion_date),
            ("validTo", self.valid_to),
        ];
        for (name, date) in dates {
            members.extend(date.map(|date| (name.to_owned(), json!(long_date(date.0)))));
        }
        Ok(Value::Object(members))
    }
}
