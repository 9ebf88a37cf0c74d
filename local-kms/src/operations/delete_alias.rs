//! DeleteAlias: takes a name away; the key stays.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::create_alias::{check_alias_name, constrain_alias_name};
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::Lookup;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteAlias {
    alias_name: Option<String>,
}

impl Operation for DeleteAlias {
    const NAME: &'static str = "DeleteAlias";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "aliasName": self.alias_name })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let name = constrain_alias_name(&mut constraints, self.alias_name.as_deref());
        constraints.check()?;
        check_alias_name(name)?;
        let kms = call.kms;
        let arn = kms.account.alias_arn(name);
        call.trail.resources.push(arn.clone());
        call.permit(&arn)?;
        kms.state.write(|writing| {
            let alias = writing.alias(name)?.ok_or(KmsError::AliasNotFound { arn })?;
            if let Some(target) = writing.key(alias.target)? {
                call.permitted(writing, target, Self::NAME)?;
            }
            writing.remove_alias(name)?;
            Ok(Done {})
        })
    }
}
