//! ScheduleKeyDeletion: the key stops working at once, and is gone for good after 7 to 30 days.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::key_metadata::EpochSeconds;
use crate::audit::long_date;
use crate::error::KmsError;
use crate::state::KeyState;

const DEFAULT_WINDOW_DAYS: i64 = 30;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ScheduleKeyDeletion {
    key_id: Option<String>,
    pending_window_in_days: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_id: String,
    deletion_date: EpochSeconds,
    key_state: &'static str,
    pending_window_in_days: i64,
}

impl Operation for ScheduleKeyDeletion {
    const NAME: &'static str = "ScheduleKeyDeletion";
    const READ_ONLY: bool = false;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "pendingWindowInDays": self.pending_window_in_days })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        // The service model says 1 to 365; the API reference, and the service, 7 to 30.
        constraints.number("pendingWindowInDays", self.pending_window_in_days, 7..=30);
        constraints.check()?;
        let days = self.pending_window_in_days.unwrap_or(DEFAULT_WINDOW_DAYS);
        let deletion_date = call.now + SignedDuration::from_hours(24 * days);
        call.facts.insert("kms:ScheduleKeyDeletionPendingWindowInDays", days.to_string());
        let kms = call.kms;
        let key = kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_not_pending_deletion(&key)?;
            key.state = KeyState::PendingDeletion { deletion_date };
            writing.put_key(&key)?;
            Ok::<_, KmsError>(key)
        })?;
        call.trail.response_elements = Some(json!({
            "keyId": call.arn(&key),
            "keyState": key.state.name(),
            "deletionDate": long_date(deletion_date),
            "pendingWindowInDays": days,
        }));
        Ok(Response {
            key_id: call.arn(&key),
            deletion_date: EpochSeconds(deletion_date),
            key_state: key.state.name(),
            pending_window_in_days: days,
        })
    }
}
