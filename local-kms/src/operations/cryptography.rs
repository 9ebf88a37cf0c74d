//! What the cryptographic operations share: their checks, sealing under a key, opening a blob.

use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::call::Call;
use super::constraints::Constraints;
use crate::blob::Blob;
use crate::ciphertext::CiphertextBlob;
use crate::encryption_context::EncryptionContext;
use crate::error::KmsError;
use crate::state::{KeyRecord, Lookup, MaterialId, Reading};

pub(super) const SYMMETRIC_DEFAULT: &str = "SYMMETRIC_DEFAULT";
const ALGORITHMS: [&str; 4] = [SYMMETRIC_DEFAULT, "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "SM2PKE"];
pub(super) const MAX_CIPHERTEXT_LEN: usize = 6144;

/// An attested Nitro enclave to encrypt the answer for. Answering in the clear instead would betray the caller.
pub(super) fn refuse_recipient(recipient: Option<&IgnoredAny>) -> Result<(), KmsError> {
    match recipient {
        Some(_) => Err(KmsError::Unsupported("Recipient is not supported by this server.".to_owned())),
        None => Ok(()),
    }
}

/// The end of every check of an operation that can be rehearsed.
pub(super) fn stop_if_dry_run(dry_run: Option<bool>) -> Result<(), KmsError> {
    if dry_run == Some(true) { Err(KmsError::DryRun) } else { Ok(()) }
}

/// What an absent algorithm stands for.
pub(super) fn algorithm_name(given: Option<&str>) -> &str {
    given.unwrap_or(SYMMETRIC_DEFAULT)
}

pub(super) fn constrain_algorithm(constraints: &mut Constraints, member: &str, algorithm: Option<&str>) {
    constraints.one_of(member, algorithm, &ALGORITHMS);
}

pub(super) fn check_algorithm(call: &Call, key: &KeyRecord, algorithm: Option<&str>) -> Result<(), KmsError> {
    match algorithm {
        Some(other) if other != SYMMETRIC_DEFAULT => {
            Err(KmsError::InvalidKeyUsage { arn: call.arn(key), algorithm: other.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Encrypts under the key's current material, which is named in the trail.
pub(super) fn seal(
    call: &mut Call,
    reading: &Reading,
    key: &KeyRecord,
    context: Option<&EncryptionContext>,
    plaintext: &[u8],
) -> Result<(Blob, MaterialId), KmsError> {
    let missing = || KmsError::Internal("the key has no material".into());
    let id = key.material.ok_or_else(missing)?;
    let material = call.kms.material(reading, key.id, id)?.ok_or_else(missing)?;
    let empty = EncryptionContext::default();
    let blob = material.encrypt((key.id, id), context.unwrap_or(&empty), plaintext)?.into();
    call.used.push(key.id);
    Ok((blob, id))
}

/// What Decrypt and ReEncrypt are given to open.
pub(super) struct Source<'a> {
    pub(super) blob: Option<&'a Blob>,
    pub(super) key_id: Option<&'a str>,
    pub(super) context: Option<&'a EncryptionContext>,
    pub(super) algorithm: Option<&'a str>,
    /// The modifier `IGNORE_CIPHERTEXT` of a dry run: ask about the key alone.
    pub(super) ignore_ciphertext: bool,
}

pub(super) struct Opened {
    pub(super) key: KeyRecord,
    /// `None` only when the ciphertext was to be ignored and the key has no material.
    pub(super) material: Option<MaterialId>,
    /// Empty when the ciphertext was to be ignored.
    pub(super) plaintext: Zeroizing<Vec<u8>>,
}

/// Whether a dry run asks to ignore the ciphertext. Without `DryRun` the modifiers mean nothing.
pub(super) fn ignores_ciphertext(dry_run: Option<bool>, modifiers: Option<&[String]>) -> bool {
    dry_run == Some(true) && modifiers.is_some_and(|modifiers| modifiers.iter().any(|m| m == "IGNORE_CIPHERTEXT"))
}

pub(super) fn constrain_modifiers(constraints: &mut Constraints, modifiers: Option<&[String]>) {
    for modifier in modifiers.unwrap_or_default() {
        constraints.one_of("dryRunModifiers", Some(modifier), &["IGNORE_CIPHERTEXT"]);
    }
}

impl Source<'_> {
    pub(super) fn constrain(&self, constraints: &mut Constraints, key_member: &str) {
        if self.ignore_ciphertext {
            constraints.required(key_member, self.key_id);
        } else {
            constraints.required("ciphertextBlob", self.blob);
            // An empty blob is within AWS's bounds here: it is an invalid ciphertext, not an invalid request.
            constraints.blob_length("ciphertextBlob", self.blob.map(|blob| &**blob), 0..=MAX_CIPHERTEXT_LEN);
        }
        constraints.optional_key_id(key_member, self.key_id);
    }

    /// Opens the blob with the key it names, which must be the one the caller names, if any, be enabled, and be the
    /// caller's to use by the permission `action`.
    pub(super) fn open(&self, call: &mut Call, reading: &Reading, action: &str) -> Result<Opened, KmsError> {
        call.set_encryption_context(self.context)?;
        let named = self.key_id.map(|id| call.key_or_alias_for(reading, id, action)).transpose()?;
        let blob = match (self.ignore_ciphertext, &named) {
            (true, Some(key)) => {
                check_algorithm(call, key, self.algorithm)?;
                call.require_enabled(key)?;
                return Ok(Opened { material: key.material, key: key.clone(), plaintext: Zeroizing::default() });
            }
            _ => CiphertextBlob::parse(self.blob.map(|blob| &**blob).unwrap_or_default())?,
        };
        let key = match named {
            Some(key) if key.id == blob.key => key,
            Some(_) => return Err(KmsError::IncorrectKey),
            None => {
                let key = reading.key(blob.key)?.ok_or(KmsError::CiphertextNotAccessible)?;
                // Who names no key is not told which one it would have been.
                call.permitted(reading, key, action).map_err(|error| match error {
                    KmsError::AccessDenied { .. } => KmsError::CiphertextNotAccessible,
                    other => other,
                })?
            }
        };
        check_algorithm(call, &key, self.algorithm)?;
        call.require_enabled(&key)?;
        let material = call.kms.material(reading, key.id, blob.material)?.ok_or(KmsError::InvalidCiphertext)?;
        let empty = EncryptionContext::default();
        let plaintext = material.decrypt(&blob, self.context.unwrap_or(&empty))?;
        call.used.push(key.id);
        Ok(Opened { key, material: Some(blob.material), plaintext })
    }
}
