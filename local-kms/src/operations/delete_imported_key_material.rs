//! DeleteImportedKeyMaterial: the key stops working at once, until the same material is imported again.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::rotation::forget_material;
use crate::error::KmsError;
use crate::state::MaterialId;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteImportedKeyMaterial {
    key_id: Option<String>,
    key_material_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_material_id: Option<MaterialId>,
}

impl Operation for DeleteImportedKeyMaterial {
    const NAME: &'static str = "DeleteImportedKeyMaterial";
    const READ_ONLY: bool = false;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "keyMaterialId": self.key_material_id })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.length("keyMaterialId", self.key_material_id.as_deref(), 64..=64);
        constraints.check()?;
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_imported_material(&key)?;
            let id = match &self.key_material_id {
                Some(text) => {
                    let id = MaterialId::try_from(text.clone()).ok().filter(|id| key.material_record(*id).is_some());
                    Some(id.ok_or_else(|| KmsError::Validation("The key has no such key material.".to_owned()))?)
                }
                None => key.material,
            };
            if let Some(id) = id {
                forget_material(writing, &mut key, id)?;
                writing.put_key(&key)?;
            }
            let key_id = call.arn(&key);
            call.trail.key_material_id = id.map(|id| id.to_string());
            call.trail.response_elements = Some(json!({ "keyId": key_id, "keyMaterialId": id }));
            Ok(Response { key_id, key_material_id: id })
        })
    }
}
