//! UpdateAlias: points an alias at another key. Blobs name their key, so none is affected.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::create_alias::{MAX_ALIASES, check_alias_name, constrain_alias_name};
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::{AliasRecord, Lookup};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateAlias {
    alias_name: Option<String>,
    target_key_id: Option<String>,
}

impl Operation for UpdateAlias {
    const NAME: &'static str = "UpdateAlias";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "aliasName": self.alias_name, "targetKeyId": self.target_key_id })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let name = constrain_alias_name(&mut constraints, self.alias_name.as_deref());
        let target_key_id = constraints.key_id("targetKeyId", self.target_key_id.as_deref());
        constraints.check()?;
        check_alias_name(name)?;
        let kms = call.kms;
        let arn = kms.account.alias_arn(name);
        call.trail.resources.push(arn.clone());
        call.permit(&arn)?;
        kms.state.write(|writing| {
            let alias = writing.alias(name)?.ok_or(KmsError::AliasNotFound { arn })?;
            if let Some(current) = writing.key(alias.target)? {
                call.permitted(writing, current, Self::NAME)?;
            }
            // The key that the alias leaves may be pending deletion, the one it comes to may not.
            let key = call.key(writing, target_key_id)?;
            call.require_not_pending_deletion(&key)?;
            if alias.target != key.id && writing.aliases_of(key.id)?.len() >= MAX_ALIASES {
                return Err(KmsError::TooManyAliases { arn: call.arn(&key), limit: MAX_ALIASES });
            }
            writing.put_alias(name, &AliasRecord { target: key.id, updated: call.now, ..alias })?;
            Ok(Done {})
        })
    }
}
