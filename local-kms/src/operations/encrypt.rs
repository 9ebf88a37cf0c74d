//! Encrypt: up to 4096 bytes under a key.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::{
    SYMMETRIC_DEFAULT, algorithm_name, check_algorithm, constrain_algorithm, seal, stop_if_dry_run,
};
use super::grant_tokens::GrantTokens;
use crate::blob::Blob;
use crate::encryption_context::EncryptionContext;
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Encrypt {
    key_id: Option<String>,
    plaintext: Option<Blob>,
    encryption_context: Option<EncryptionContext>,
    #[serde(default)]
    grant_tokens: GrantTokens,
    encryption_algorithm: Option<String>,
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob,
    key_id: String,
    encryption_algorithm: &'static str,
}

impl Operation for Encrypt {
    const NAME: &'static str = "Encrypt";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({
            "keyId": self.key_id,
            "encryptionContext": self.encryption_context,
            "encryptionAlgorithm": self.encryption_algorithm.as_deref().unwrap_or(SYMMETRIC_DEFAULT),
            "dryRun": self.dry_run,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        let plaintext = self.plaintext.as_deref();
        constraints.required("plaintext", plaintext);
        constraints.blob_length("plaintext", plaintext, 1..=4096);
        constrain_algorithm(&mut constraints, "encryptionAlgorithm", self.encryption_algorithm.as_deref());
        self.grant_tokens.constrain(&mut constraints);
        constraints.check()?;
        call.present(&self.grant_tokens)?;

        call.set_encryption_context(self.encryption_context.as_ref())?;
        call.facts.insert("kms:EncryptionAlgorithm", algorithm_name(self.encryption_algorithm.as_deref()));
        let reading = call.kms.state.read()?;
        let key = call.key_or_alias(&reading, key_id)?;
        check_algorithm(call, &key, self.encryption_algorithm.as_deref())?;
        call.require_enabled(&key)?;
        stop_if_dry_run(self.dry_run)?;
        let context = self.encryption_context.as_ref();
        let (ciphertext_blob, material) = seal(call, &reading, &key, context, plaintext.unwrap_or_default())?;
        call.trail.key_material_id = Some(material.to_string());
        Ok(Response { ciphertext_blob, key_id: call.arn(&key), encryption_algorithm: SYMMETRIC_DEFAULT })
    }
}
