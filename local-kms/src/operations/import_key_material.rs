//! ImportKeyMaterial: material made elsewhere, unwrapped into the key. Once imported, only the same material can take
//! its place again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::MAX_CIPHERTEXT_LEN;
use super::rotation::replace_material;
use crate::blob::Blob;
use crate::ciphertext::KeyMaterial;
use crate::error::KmsError;
use crate::import::{ImportToken, material_id};
use crate::state::{ImportRecord, KeyRecord, KeyState, MaterialId, MaterialMade, MaterialRecord};

/// AWS: how far ahead material may expire.
const MAX_VALIDITY: SignedDuration = SignedDuration::from_hours(24 * 365);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImportKeyMaterial {
    key_id: Option<String>,
    import_token: Option<Blob>,
    encrypted_key_material: Option<Blob>,
    /// Seconds since the epoch.
    valid_to: Option<f64>,
    expiration_model: Option<String>,
    import_type: Option<String>,
    key_material_description: Option<String>,
    key_material_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    key_material_id: MaterialId,
}

impl Operation for ImportKeyMaterial {
    const NAME: &'static str = "ImportKeyMaterial";
    const READ_ONLY: bool = false;
    type Response = Response;

    fn parameters(&self) -> Value {
        let valid_to = self.valid_to().ok().flatten().map(crate::audit::long_date);
        json!({
            "keyId": self.key_id,
            "validTo": valid_to,
            "expirationModel": self.expiration_model,
            "importType": self.import_type,
            "keyMaterialDescription": self.key_material_description,
            "keyMaterialId": self.key_material_id,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let key_id = self.check_constraints()?;
        let expires = self.expiry(call.now)?;
        let model = super::key_metadata::expiration_model(expires);
        call.facts.insert("kms:ExpirationModel", model);
        if let Some(expires) = expires {
            call.facts.insert("kms:ValidTo", expires.to_string());
        }
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_imported_material(&key)?;
            call.require_not_pending_deletion(&key)?;
            let material = self.unwrap_material(call, &key)?;
            let id = material_id(key.id, &material);
            self.place(&mut key, id, call.now)?;
            if let Some(record) = key.material_record(id) {
                let known = record.import.take().and_then(|import| import.description);
                let description = self.key_material_description.clone().or(known);
                record.import = Some(ImportRecord { present: true, expires, description });
            }
            if key.state == KeyState::PendingImport && key.has_all_material() {
                key.state = KeyState::Enabled;
            }
            writing.put_material(key.id, id, &kms.seal_material(key.id, id, &material)?)?;
            writing.put_key(&key)?;
            let key_id = call.arn(&key);
            call.trail.key_material_id = Some(id.to_string());
            call.trail.response_elements = Some(json!({ "keyId": key_id, "keyMaterialId": id }));
            Ok(Response { key_id, key_material_id: id })
        })
    }
}

impl ImportKeyMaterial {
    fn check_constraints(&self) -> Result<&str, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        for (member, blob) in
            [("importToken", &self.import_token), ("encryptedKeyMaterial", &self.encrypted_key_material)]
        {
            constraints.required(member, blob.as_deref());
            constraints.blob_length(member, blob.as_deref(), 1..=MAX_CIPHERTEXT_LEN);
        }
        let models = ["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"];
        constraints.one_of("expirationModel", self.expiration_model.as_deref(), &models);
        let types = ["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"];
        constraints.one_of("importType", self.import_type.as_deref(), &types);
        constraints.length("keyMaterialDescription", self.key_material_description.as_deref(), 0..=256);
        constraints.length("keyMaterialId", self.key_material_id.as_deref(), 64..=64);
        constraints.check()?;
        Ok(key_id)
    }

    fn valid_to(&self) -> Result<Option<Timestamp>, KmsError> {
        let Some(seconds) = self.valid_to else { return Ok(None) };
        let date = SignedDuration::try_from_secs_f64(seconds).ok();
        let date = date.and_then(|since| Timestamp::UNIX_EPOCH.checked_add(since).ok());
        date.map(Some).ok_or_else(|| KmsError::Validation("ValidTo is not a date.".to_owned()))
    }

    /// `None`: the material does not expire.
    fn expiry(&self, now: Timestamp) -> Result<Option<Timestamp>, KmsError> {
        let invalid = |message: &str| Err(KmsError::Validation(message.to_owned()));
        match (self.expiration_model.as_deref(), self.valid_to()?) {
            (Some("KEY_MATERIAL_DOES_NOT_EXPIRE"), None) => Ok(None),
            (Some("KEY_MATERIAL_DOES_NOT_EXPIRE"), Some(_)) => {
                invalid("A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE")
            }
            (_, None) => invalid("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES"),
            (_, Some(date)) if date <= now => invalid("The validTo date must be in the future"),
            (_, Some(date)) if date > now + MAX_VALIDITY => {
                invalid("The validTo date must be within 365 days of the request")
            }
            (_, date) => Ok(date),
        }
    }

    fn unwrap_material(&self, call: &Call, key: &KeyRecord) -> Result<KeyMaterial, KmsError> {
        let token = self.import_token.as_deref().unwrap_or_default();
        let token = ImportToken::open(&call.kms.root_key, token).filter(|token| token.key == key.id);
        let token = token.ok_or(KmsError::InvalidImportToken)?;
        if call.kms.clock.unmoved() > token.valid_to {
            return Err(KmsError::ExpiredImportToken);
        }
        let wrapped = self.encrypted_key_material.as_deref().unwrap_or_default();
        let bytes = token.unwrap(wrapped)?;
        KeyMaterial::from_bytes(&bytes)
            .ok_or(KmsError::IncorrectKeyMaterial("The key material of a symmetric encryption key is 32 bytes long."))
    }

    /// Makes room for the material among those of the key, or finds that it is the one that was there before.
    fn place(&self, key: &mut KeyRecord, id: MaterialId, now: Timestamp) -> Result<(), KmsError> {
        let known = key.material_record(id).is_some();
        if self.key_material_id.as_ref().is_some_and(|wanted| *wanted != id.to_string()) {
            return Err(KmsError::IncorrectKeyMaterial("The key material is not that of the KeyMaterialId given."));
        }
        match self.import_type.as_deref() {
            _ if key.materials.is_empty() => {
                replace_material(key, id, MaterialMade::WithTheKey, now);
                Ok(())
            }
            Some("NEW_KEY_MATERIAL") if known => {
                Err(KmsError::IncorrectKeyMaterial("The key material is one that this key has or had already."))
            }
            Some("NEW_KEY_MATERIAL") => {
                if key.materials.iter().any(|material| material.current_since.is_none()) {
                    return Err(KmsError::InvalidState("Other key material is pending rotation already.".to_owned()));
                }
                let made = MaterialMade::OnDemand;
                key.materials.push(MaterialRecord { id, made, current_since: None, import: None });
                Ok(())
            }
            _ if known => Ok(()),
            _ => Err(KmsError::IncorrectKeyMaterial(
                "The key material is not the one that was imported into this key before.",
            )),
        }
    }
}
