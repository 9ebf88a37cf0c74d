//! DisableKeyRotation: the material stays the one it is.

use serde::Deserialize;
use serde_json::Value;

use super::call::Call;
use super::key_request::KeyRequest;
use super::{Done, Operation};
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct DisableKeyRotation(KeyRequest);

impl Operation for DisableKeyRotation {
    const NAME: &'static str = "DisableKeyRotation";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        self.0.parameters()
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let key_id = self.0.key_id()?;
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_own_material(&key)?;
            call.require_enabled(&key)?;
            key.rotation = None;
            writing.put_key(&key)?;
            Ok(Done {})
        })
    }
}
