//! ReEncrypt: moves a blob to another key or context; the plaintext never leaves this server.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::{
    SYMMETRIC_DEFAULT, Source, algorithm_name, check_algorithm, constrain_algorithm, constrain_modifiers,
    ignores_ciphertext, seal, stop_if_dry_run,
};
use super::grant_tokens::GrantTokens;
use crate::blob::Blob;
use crate::ciphertext::CiphertextBlob;
use crate::encryption_context::EncryptionContext;
use crate::error::KmsError;
use crate::key_reference::KeyReference;
use crate::state::{Lookup, Reading};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReEncrypt {
    ciphertext_blob: Option<Blob>,
    source_encryption_context: Option<EncryptionContext>,
    source_key_id: Option<String>,
    destination_key_id: Option<String>,
    destination_encryption_context: Option<EncryptionContext>,
    source_encryption_algorithm: Option<String>,
    destination_encryption_algorithm: Option<String>,
    #[serde(default)]
    grant_tokens: GrantTokens,
    dry_run: Option<bool>,
    dry_run_modifiers: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    ciphertext_blob: Blob,
    source_key_id: String,
    key_id: String,
    source_encryption_algorithm: &'static str,
    destination_encryption_algorithm: &'static str,
    source_key_material_id: String,
    destination_key_material_id: String,
}

impl Operation for ReEncrypt {
    const NAME: &'static str = "ReEncrypt";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        let algorithm = |given: &Option<String>| given.clone().unwrap_or_else(|| SYMMETRIC_DEFAULT.to_owned());
        json!({
            "sourceKeyId": self.source_key_id,
            "sourceEncryptionContext": self.source_encryption_context,
            "sourceEncryptionAlgorithm": algorithm(&self.source_encryption_algorithm),
            "destinationKeyId": self.destination_key_id,
            "destinationEncryptionContext": self.destination_encryption_context,
            "destinationEncryptionAlgorithm": algorithm(&self.destination_encryption_algorithm),
            "dryRun": self.dry_run,
            "dryRunModifiers": self.dry_run_modifiers,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let modifiers = self.dry_run_modifiers.as_deref();
        let source = Source {
            blob: self.ciphertext_blob.as_ref(),
            key_id: self.source_key_id.as_deref(),
            context: self.source_encryption_context.as_ref(),
            algorithm: self.source_encryption_algorithm.as_deref(),
            ignore_ciphertext: ignores_ciphertext(self.dry_run, modifiers),
        };
        let destination_algorithm = self.destination_encryption_algorithm.as_deref();
        let mut constraints = Constraints::default();
        source.constrain(&mut constraints, "sourceKeyId");
        let destination_key_id = constraints.key_id("destinationKeyId", self.destination_key_id.as_deref());
        constrain_algorithm(&mut constraints, "sourceEncryptionAlgorithm", source.algorithm);
        constrain_algorithm(&mut constraints, "destinationEncryptionAlgorithm", destination_algorithm);
        constrain_modifiers(&mut constraints, modifiers);
        self.grant_tokens.constrain(&mut constraints);
        constraints.check()?;
        call.present(&self.grant_tokens)?;

        let reading = call.kms.state.read()?;
        let same = self.is_on_same_key(call, &reading)?;
        call.facts.insert("kms:ReEncryptOnSameKey", same.to_string());
        call.facts.insert("kms:EncryptionAlgorithm", algorithm_name(source.algorithm));
        let opened = source.open(call, &reading, "ReEncryptFrom")?;
        let source_material = opened.material.map(|id| id.to_string()).unwrap_or_default();
        call.trail.key_material_id = Some(source_material.clone());
        call.facts.insert("kms:EncryptionAlgorithm", algorithm_name(destination_algorithm));
        call.set_encryption_context(self.destination_encryption_context.as_ref())?;
        let destination = call.key_or_alias_for(&reading, destination_key_id, "ReEncryptTo")?;
        check_algorithm(call, &destination, destination_algorithm)?;
        call.require_enabled(&destination)?;
        stop_if_dry_run(self.dry_run)?;
        let context = self.destination_encryption_context.as_ref();
        let (ciphertext_blob, material) = seal(call, &reading, &destination, context, &opened.plaintext)?;
        Ok(Response {
            ciphertext_blob,
            source_key_id: call.arn(&opened.key),
            key_id: call.arn(&destination),
            source_encryption_algorithm: SYMMETRIC_DEFAULT,
            destination_encryption_algorithm: SYMMETRIC_DEFAULT,
            source_key_material_id: source_material,
            destination_key_material_id: material.to_string(),
        })
    }
}

impl ReEncrypt {
    /// Known before either permission is asked for, since both may depend on it.
    fn is_on_same_key(&self, call: &Call, reading: &Reading) -> Result<bool, KmsError> {
        let resolved = |text: &str| match KeyReference::parse(text, &call.kms.account) {
            Ok(KeyReference::Key(id)) => Ok(Some(id)),
            Ok(KeyReference::Alias(name)) => Ok::<_, KmsError>(reading.alias(&name)?.map(|alias| alias.target)),
            Err(_) => Ok(None),
        };
        let of_blob = || CiphertextBlob::parse(self.ciphertext_blob.as_ref()?).ok().map(|blob| blob.key);
        let source = match self.source_key_id.as_deref() {
            Some(text) => resolved(text)?,
            None => of_blob(),
        };
        let destination = self.destination_key_id.as_deref().map(resolved).transpose()?.flatten();
        Ok(source.is_some() && source == destination)
    }
}
