//! GetKeyLastUsage: when a key last encrypted or decrypted something, and by which call.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Operation;
use super::call::Call;
use super::key_metadata::EpochSeconds;
use super::key_request::KeyRequest;
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct GetKeyLastUsage(KeyRequest);

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_last_usage: Option<KeyLastUsage>,
    tracking_start_date: EpochSeconds,
    key_creation_date: EpochSeconds,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct KeyLastUsage {
    operation: String,
    timestamp: EpochSeconds,
    cloud_trail_event_id: String,
    kms_request_id: String,
}

impl Operation for GetKeyLastUsage {
    const NAME: &'static str = "GetKeyLastUsage";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        self.0.parameters()
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let key_id = self.0.key_id()?;
        let key = call.key(&call.kms.state.read()?, key_id)?;
        let usage = call.kms.last_usage(key.id)?.map(|usage| KeyLastUsage {
            operation: usage.operation,
            timestamp: EpochSeconds(usage.at),
            cloud_trail_event_id: usage.event_id,
            kms_request_id: usage.request_id,
        });
        Ok(Response {
            key_id: call.arn(&key),
            key_last_usage: usage,
            // Every use since the key was made was counted.
            tracking_start_date: EpochSeconds(key.created),
            key_creation_date: EpochSeconds(key.created),
        })
    }
}
