//! EnableKey: cryptographic operations work again.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::KeyState;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EnableKey {
    key_id: Option<String>,
}

impl Operation for EnableKey {
    const NAME: &'static str = "EnableKey";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.check()?;
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
