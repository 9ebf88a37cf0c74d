//! CreateAlias: a name for a key.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::{AliasRecord, Lookup};

/// AWS: aliases per KMS key.
pub(super) const MAX_ALIASES: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateAlias {
    alias_name: Option<String>,
    target_key_id: Option<String>,
}

impl Operation for CreateAlias {
    const NAME: &'static str = "CreateAlias";
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
            let key = call.key(writing, target_key_id)?;
            call.require_not_pending_deletion(&key)?;
            if writing.alias(name)?.is_some() {
                return Err(KmsError::AliasExists { arn });
            }
            if writing.aliases_of(key.id)?.len() >= MAX_ALIASES {
                return Err(KmsError::TooManyAliases { arn: call.arn(&key), limit: MAX_ALIASES });
            }
            writing.put_alias(name, &AliasRecord { target: key.id, created: call.now, updated: call.now })?;
            Ok(Done {})
        })
    }
}

/// The name; empty if it is absent, which is then a violation.
pub(super) fn constrain_alias_name<'a>(constraints: &mut Constraints, name: Option<&'a str>) -> &'a str {
    constraints.required("aliasName", name);
    let name = constraints.length("aliasName", name, 1..=256).unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | ':');
    constraints.characters("aliasName", name, allowed, "^[a-zA-Z0-9:/_-]+$");
    name
}

pub(super) fn check_alias_name(name: &str) -> Result<(), KmsError> {
    match name.strip_prefix("alias/") {
        // The model allows a colon, the documentation does not: it would make the alias's ARN ambiguous.
        Some(rest) if !rest.is_empty() && !rest.contains(':') => {}
        _ => {
            return Err(KmsError::Validation(
                "Alias must start with the prefix \"alias/\". Please see \
                 https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
                    .to_owned(),
            ));
        }
    }
    if name.starts_with("alias/aws/") { Err(KmsError::ReservedAlias) } else { Ok(()) }
}
