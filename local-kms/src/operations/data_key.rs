//! The request that GenerateDataKey and GenerateDataKeyWithoutPlaintext share.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::{SYMMETRIC_DEFAULT, refuse_recipient, seal, stop_if_dry_run};
use super::grant_tokens::GrantTokens;
use crate::blob::Blob;
use crate::encryption_context::EncryptionContext;
use crate::error::KmsError;
use crate::random;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DataKeyRequest {
    key_id: Option<String>,
    encryption_context: Option<EncryptionContext>,
    number_of_bytes: Option<i64>,
    key_spec: Option<String>,
    #[serde(default)]
    grant_tokens: GrantTokens,
    recipient: Option<IgnoredAny>,
    dry_run: Option<bool>,
}

pub(super) struct DataKey {
    pub(super) ciphertext_blob: Blob,
    pub(super) plaintext: Blob,
    pub(super) key_arn: String,
    pub(super) key_material_id: String,
}

impl DataKeyRequest {
    pub(super) fn parameters(&self) -> Value {
        json!({
            "keyId": self.key_id,
            "encryptionContext": self.encryption_context,
            "numberOfBytes": self.number_of_bytes,
            "keySpec": self.key_spec,
            "dryRun": self.dry_run,
        })
    }

    pub(super) fn generate(&self, call: &mut Call) -> Result<DataKey, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.number("numberOfBytes", self.number_of_bytes, 1..=1024);
        constraints.one_of("keySpec", self.key_spec.as_deref(), &["AES_256", "AES_128"]);
        self.grant_tokens.constrain(&mut constraints);
        constraints.check()?;
        let len_bytes = match (self.number_of_bytes, self.key_spec.as_deref()) {
            (Some(number), None) => usize::try_from(number).ok(),
            (None, Some("AES_256")) => Some(32),
            (None, Some("AES_128")) => Some(16),
            _ => None,
        };
        let len_bytes = len_bytes
            .ok_or_else(|| KmsError::Validation("Please specify either number of bytes or key spec.".to_owned()))?;
        call.present(&self.grant_tokens)?;
        refuse_recipient(self.recipient.as_ref())?;

        call.set_encryption_context(self.encryption_context.as_ref())?;
        call.facts.insert("kms:EncryptionAlgorithm", SYMMETRIC_DEFAULT);
        let reading = call.kms.state.read()?;
        let key = call.key_or_alias(&reading, key_id)?;
        call.require_enabled(&key)?;
        stop_if_dry_run(self.dry_run)?;
        let mut plaintext = Zeroizing::new(vec![0; len_bytes]);
        random::fill(&mut plaintext)?;
        let (ciphertext_blob, material) = seal(call, &reading, &key, self.encryption_context.as_ref(), &plaintext)?;
        let key_material_id = material.to_string();
        call.trail.key_material_id = Some(key_material_id.clone());
        Ok(DataKey { ciphertext_blob, plaintext: Blob(plaintext), key_arn: call.arn(&key), key_material_id })
    }
}
