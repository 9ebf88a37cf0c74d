//! CancelKeyDeletion: the key stays, disabled; EnableKey makes it work again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::key_request::KeyRequest;
use crate::error::KmsError;
use crate::state::KeyState;

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct CancelKeyDeletion(KeyRequest);

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
        self.0.parameters()
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let key_id = self.0.key_id()?;
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
