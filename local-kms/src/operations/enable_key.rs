//! EnableKey: cryptographic operations work again.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::key_request::KeyRequest;
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::KeyState;

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct EnableKey(KeyRequest);

impl Operation for EnableKey {
    const NAME: &'static str = "EnableKey";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        self.0.parameters()
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let key_id = self.0.key_id()?;
        let kms = call.kms;
        let key = kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_switchable(&key)?;
            key.state = KeyState::Enabled;
            writing.put_key(&key)?;
            Ok::<_, KmsError>(key)
        })?;
        call.trail.response_elements = Some(json!({ "keyId": call.arn(&key) }));
        Ok(Done {})
    }
}
