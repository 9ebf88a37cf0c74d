//! GetKeyRotationStatus: whether and when a key gets new material by itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Operation;
use super::call::Call;
use super::key_metadata::EpochSeconds;
use super::key_request::KeyRequest;
use crate::error::KmsError;
use crate::state::KeyState;

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct GetKeyRotationStatus(KeyRequest);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_rotation_enabled: bool,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_period_in_days: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_rotation_date: Option<EpochSeconds>,
}

impl Operation for GetKeyRotationStatus {
    const NAME: &'static str = "GetKeyRotationStatus";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        self.0.parameters()
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let key_id = self.0.key_id()?;
        let key = call.key(&call.kms.state.read()?, key_id)?;
        call.require_own_material(&key)?;
        // A key that waits for its deletion is not rotated, and says so; cancelled, it goes on as before.
        let rotation = key.rotation.filter(|_| !matches!(key.state, KeyState::PendingDeletion { .. }));
        Ok(Response {
            key_rotation_enabled: rotation.is_some(),
            key_id: key.id.to_string(),
            rotation_period_in_days: rotation.map(|rotation| rotation.period_days),
            next_rotation_date: rotation.map(|rotation| EpochSeconds(rotation.next)),
        })
    }
}
