//! The request of operations that are told nothing but which key.

use serde::Deserialize;
use serde_json::{Value, json};

use super::constraints::Constraints;
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct KeyRequest {
    key_id: Option<String>,
}

impl KeyRequest {
    pub(super) fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id })
    }

    pub(super) fn key_id(&self) -> Result<&str, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.check()?;
        Ok(key_id)
    }
}
