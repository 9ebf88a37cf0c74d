//! GenerateDataKeyWithoutPlaintext: random bytes that leave this server only encrypted.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Operation;
use super::call::Call;
use super::data_key::DataKeyRequest;
use crate::blob::Blob;
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct GenerateDataKeyWithoutPlaintext(DataKeyRequest);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob,
    key_id: String,
    key_material_id: String,
}

impl Operation for GenerateDataKeyWithoutPlaintext {
    const NAME: &'static str = "GenerateDataKeyWithoutPlaintext";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        self.0.parameters()
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let data_key = self.0.generate(call)?;
        Ok(Response {
            ciphertext_blob: data_key.ciphertext_blob,
            key_id: data_key.key_arn,
            key_material_id: data_key.key_material_id,
        })
    }
}
