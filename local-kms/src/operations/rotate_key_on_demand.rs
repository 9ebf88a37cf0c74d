//! RotateKeyOnDemand: new material now; of a key with imported material, the one that waits for it.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::key_request::KeyRequest;
use super::rotation::replace_material;
use crate::error::KmsError;
use crate::state::{KeyOrigin, MaterialMade};

/// AWS: rotations on demand in the life of a key.
const MAX_ROTATIONS: usize = 25;
/// AWS: no rotation on demand so soon before an automatic one.
const CONFLICT: SignedDuration = SignedDuration::from_mins(20);

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct RotateKeyOnDemand(KeyRequest);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
}

impl Operation for RotateKeyOnDemand {
    const NAME: &'static str = "RotateKeyOnDemand";
    const READ_ONLY: bool = false;
    type Response = Response;

    fn parameters(&self) -> Value {
        self.0.parameters()
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let key_id = self.0.key_id()?;
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_enabled(&key)?;
            let rotations = key.materials.iter().filter(|material| material.made == MaterialMade::OnDemand);
            if rotations.filter(|material| material.current_since.is_some()).count() >= MAX_ROTATIONS {
                return Err(KmsError::LimitExceeded(format!(
                    "The key {} was rotated on demand {MAX_ROTATIONS} times, which is the limit.",
                    call.arn(&key)
                )));
            }
            if key.rotation.is_some_and(|rotation| rotation.next - CONFLICT <= call.now) {
                return Err(KmsError::Conflict(format!(
                    "An automatic rotation of {} is scheduled within the next {} minutes.",
                    call.arn(&key),
                    CONFLICT.as_mins()
                )));
            }
            let material = match key.origin {
                KeyOrigin::AwsKms => {
                    let material = kms.seal_new_material(key.id)?;
                    writing.put_material(key.id, material.id, &material.bytes)?;
                    material.id
                }
                KeyOrigin::External => {
                    let waiting = key.materials.iter().find(|material| material.current_since.is_none());
                    let waiting = waiting.map(|material| material.id);
                    waiting.ok_or_else(|| {
                        KmsError::InvalidState(format!(
                            "No available key material pending rotation for the key: {}.",
                            call.arn(&key)
                        ))
                    })?
                }
            };
            replace_material(&mut key, material, MaterialMade::OnDemand, call.now);
            writing.put_key(&key)?;
            call.trail.key_material_id = Some(material.to_string());
            call.trail.response_elements = Some(json!({ "keyId": key.id }));
            Ok(Response { key_id: key.id.to_string() })
        })
    }
}
