//! DisableKeyRotation: the material stays the one it is.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::{Done, Operation};
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DisableKeyRotation {
    key_id: Option<String>,
}

impl Operation for DisableKeyRotation {
    const NAME: &'static str = "DisableKeyRotation";
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
