//! UpdateKeyDescription.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::{Done, Operation};
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UpdateKeyDescription {
    key_id: Option<String>,
    description: Option<String>,
}

impl Operation for UpdateKeyDescription {
    const NAME: &'static str = "UpdateKeyDescription";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "description": self.description })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.required("description", self.description.as_ref());
        let description = constraints.length("description", self.description.as_deref(), 0..=8192).unwrap_or_default();
        constraints.check()?;
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_not_pending_deletion(&key)?;
            description.clone_into(&mut key.description);
            writing.put_key(&key)?;
            Ok(Done {})
        })
    }
}
