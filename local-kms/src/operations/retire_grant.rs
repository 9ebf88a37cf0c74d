//! RetireGrant: whom a grant lets end it, ends it. The right comes from the grant, not from a policy; a policy can only
//! deny it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::stop_if_dry_run;
use super::grant_tokens;
use super::revoke_grant::parse_grant_id;
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::{GrantRecord, Lookup};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct RetireGrant {
    grant_token: Option<String>,
    key_id: Option<String>,
    grant_id: Option<String>,
    dry_run: Option<bool>,
}

impl Operation for RetireGrant {
    const NAME: &'static str = "RetireGrant";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "grantId": self.grant_id, "dryRun": self.dry_run })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        constraints.blob_length("grantToken", self.grant_token.as_deref().map(str::as_bytes), 1..=8192);
        constraints.optional_key_id("keyId", self.key_id.as_deref());
        constraints.length("grantId", self.grant_id.as_deref(), 1..=128);
        constraints.check()?;
        let grant = self.find(call)?;
        let kms = call.kms;
        kms.state.write(|writing| {
            let gone = || KmsError::GrantNotFound(grant.id.to_string());
            let grant = writing.grant(grant.key, grant.id)?.ok_or_else(gone)?;
            let key = writing.key(grant.key)?.ok_or_else(gone)?;
            call.may_retire(writing, &key, &grant)?;
            stop_if_dry_run(self.dry_run)?;
            writing.remove_grant(&grant)?;
            call.trail.response_elements = Some(json!({ "grantId": grant.id, "keyId": call.arn(&key) }));
            Ok(Done {})
        })
    }
}

impl RetireGrant {
    fn find(&self, call: &Call) -> Result<GrantRecord, KmsError> {
        let gone = || KmsError::GrantNotFound(self.grant_id.clone().unwrap_or_default());
        match (&self.grant_token, &self.key_id, &self.grant_id) {
            (Some(token), None, None) => grant_tokens::find(call.kms, token)?.ok_or_else(gone),
            (None, Some(key), Some(id)) => {
                let (reading, id) = (call.kms.state.read_newest()?, parse_grant_id(id)?);
                let key = call.existing(&reading, key)?;
                reading.grant(key, id)?.ok_or_else(gone)
            }
            _ => Err(KmsError::Validation(
                "Specify either a grant token, or a grant ID together with a key ID.".to_owned(),
            )),
        }
    }
}
