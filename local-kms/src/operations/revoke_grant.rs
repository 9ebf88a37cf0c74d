//! RevokeGrant: whoever manages the key takes a grant away.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::stop_if_dry_run;
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::{GrantId, Lookup};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RevokeGrant {
    key_id: Option<String>,
    grant_id: Option<String>,
    dry_run: Option<bool>,
}

impl Operation for RevokeGrant {
    const NAME: &'static str = "RevokeGrant";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "grantId": self.grant_id, "dryRun": self.dry_run })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.required("grantId", self.grant_id.as_ref());
        let grant_id = constraints.length("grantId", self.grant_id.as_deref(), 1..=128).unwrap_or_default();
        constraints.check()?;
        let id = parse_grant_id(grant_id)?;
        call.describe_grant_use();
        let kms = call.kms;
        kms.state.write(|writing| {
            let key = call.key(writing, key_id)?;
            let grant = writing.grant(key.id, id)?.ok_or_else(|| KmsError::GrantNotFound(grant_id.to_owned()))?;
            stop_if_dry_run(self.dry_run)?;
            writing.remove_grant(&grant)?;
            Ok(Done {})
        })
    }
}

pub(super) fn parse_grant_id(text: &str) -> Result<GrantId, KmsError> {
    text.to_owned().try_into().map_err(|_| KmsError::InvalidGrantId(text.to_owned()))
}
