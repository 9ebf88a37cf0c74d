//! CancelKeyDeletion: the key stays, disabled; EnableKey makes it work again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use crate::error::KmsError;
use crate::state::KeyState;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CancelKeyDeletion {
    key_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
}

impl Operation for CancelKeyDeletion {
    const NAME: &'static str = "CancelKeyDeletion";
    const READ_ONLY: bool = false;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.check()?;
        let kms = call.kms;
        let key = kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            match key.state {
                KeyState::PendingDeletion { .. } if key.has_all_material() => key.state = KeyState::Disabled,
                KeyState::PendingDeletion { .. } => key.state = KeyState::PendingImport,
                KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport => {
                    return Err(KmsError::NotPendingDeletion { arn: call.arn(&key) });
                }
            }
            writing.put_key(&key)?;
            Ok(key)
        })?;
        call.trail.response_elements = Some(json!({ "keyId": call.arn(&key) }));
        Ok(Response { key_id: call.arn(&key) })
    }
}
