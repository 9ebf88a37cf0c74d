//! Decrypt: the plaintext of a blob, for who knows its context.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::{
    SYMMETRIC_DEFAULT, Source, algorithm_name, constrain_algorithm, constrain_modifiers, ignores_ciphertext,
    refuse_recipient, stop_if_dry_run,
};
use super::grant_tokens::GrantTokens;
use crate::blob::Blob;
use crate::encryption_context::EncryptionContext;
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Decrypt {
    ciphertext_blob: Option<Blob>,
    encryption_context: Option<EncryptionContext>,
    #[serde(default)]
    grant_tokens: GrantTokens,
    key_id: Option<String>,
    encryption_algorithm: Option<String>,
    recipient: Option<IgnoredAny>,
    dry_run: Option<bool>,
    dry_run_modifiers: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    plaintext: Blob,
    encryption_algorithm: &'static str,
    key_material_id: String,
}

impl Operation for Decrypt {
    const NAME: &'static str = "Decrypt";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({
            "keyId": self.key_id,
            "encryptionContext": self.encryption_context,
            "encryptionAlgorithm": self.encryption_algorithm.as_deref().unwrap_or(SYMMETRIC_DEFAULT),
            "dryRun": self.dry_run,
            "dryRunModifiers": self.dry_run_modifiers,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let modifiers = self.dry_run_modifiers.as_deref();
        let source = Source {
            blob: self.ciphertext_blob.as_ref(),
            key_id: self.key_id.as_deref(),
            context: self.encryption_context.as_ref(),
            algorithm: self.encryption_algorithm.as_deref(),
            ignore_ciphertext: ignores_ciphertext(self.dry_run, modifiers),
        };
        let mut constraints = Constraints::default();
        source.constrain(&mut constraints, "keyId");
        constrain_algorithm(&mut constraints, "encryptionAlgorithm", source.algorithm);
        constrain_modifiers(&mut constraints, modifiers);
        self.grant_tokens.constrain(&mut constraints);
        constraints.check()?;
        call.present(&self.grant_tokens)?;
        refuse_recipient(self.recipient.as_ref())?;

        let reading = call.kms.state.read()?;
        call.facts.insert("kms:EncryptionAlgorithm", algorithm_name(source.algorithm));
        let opened = source.open(call, &reading, Self::NAME)?;
        let key_material_id = opened.material.map(|id| id.to_string()).unwrap_or_default();
        call.trail.key_material_id = Some(key_material_id.clone());
        stop_if_dry_run(self.dry_run)?;
        Ok(Response {
            key_id: call.arn(&opened.key),
            plaintext: Blob(opened.plaintext),
            encryption_algorithm: SYMMETRIC_DEFAULT,
            key_material_id,
        })
    }
}
