//! GetParametersForImport: a public key to wrap key material with, and the token that goes with it.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::key_metadata::EpochSeconds;
use crate::blob::Blob;
use crate::error::KmsError;
use crate::import::{ImportToken, WrappingAlgorithm, WrappingKey, WrappingKeySpec};

const ALGORITHMS: [&str; 6] = [
    "RSAES_PKCS1_V1_5",
    "RSAES_OAEP_SHA_1",
    "RSAES_OAEP_SHA_256",
    "RSA_AES_KEY_WRAP_SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256",
    "SM2PKE",
];
/// AWS: how long the parameters may be used.
const VALID_FOR: SignedDuration = SignedDuration::from_hours(24);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetParametersForImport {
    key_id: Option<String>,
    wrapping_algorithm: Option<String>,
    wrapping_key_spec: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    import_token: Blob,
    public_key: Blob,
    parameters_valid_to: EpochSeconds,
}

impl Operation for GetParametersForImport {
    const NAME: &'static str = "GetParametersForImport";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({
            "keyId": self.key_id,
            "wrappingAlgorithm": self.wrapping_algorithm,
            "wrappingKeySpec": self.wrapping_key_spec,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        let (algorithm, spec) = (self.wrapping_algorithm.as_deref(), self.wrapping_key_spec.as_deref());
        constraints.required("wrappingAlgorithm", algorithm);
        constraints.one_of("wrappingAlgorithm", algorithm, &ALGORITHMS);
        constraints.required("wrappingKeySpec", spec);
        constraints.one_of("wrappingKeySpec", spec, &["RSA_2048", "RSA_3072", "RSA_4096", "SM2"]);
        constraints.check()?;
        let (algorithm, spec) = (algorithm.unwrap_or_default(), spec.unwrap_or_default());
        call.facts.insert("kms:WrappingAlgorithm", algorithm);
        call.facts.insert("kms:WrappingKeySpec", spec);
        let key = call.key(&call.kms.state.read()?, key_id)?;
        call.require_imported_material(&key)?;
        call.require_not_pending_deletion(&key)?;
        let unsupported = |what: &str| KmsError::Unsupported(format!("{what} is not supported by this server."));
        let algorithm = WrappingAlgorithm::from_name(algorithm).ok_or_else(|| unsupported(algorithm))?;
        let spec = WrappingKeySpec::from_name(spec).ok_or_else(|| unsupported(spec))?;
        let wrapping_key = WrappingKey::generate(spec)?;
        // Clients compare this date with their own clock.
        let valid_to = call.kms.clock.unmoved() + VALID_FOR;
        let token = ImportToken { key: key.id, algorithm, valid_to, wrapping_key: wrapping_key.private_bytes()? };
        Ok(Response {
            key_id: call.arn(&key),
            import_token: token.seal(&call.kms.root_key)?.into(),
            public_key: wrapping_key.public_bytes()?.into(),
            parameters_valid_to: EpochSeconds(valid_to),
        })
    }
}
