//! EnableKeyRotation: new material every period, and nothing that was encrypted before is touched.

use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::AutomaticRotation;

const DEFAULT_PERIOD_DAYS: i64 = 365;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EnableKeyRotation {
    key_id: Option<String>,
    rotation_period_in_days: Option<i64>,
}

impl Operation for EnableKeyRotation {
    const NAME: &'static str = "EnableKeyRotation";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "rotationPeriodInDays": self.rotation_period_in_days })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.number("rotationPeriodInDays", self.rotation_period_in_days, 90..=2560);
        constraints.check()?;
        if let Some(days) = self.rotation_period_in_days {
            call.facts.insert("kms:RotationPeriodInDays", days.to_string());
        }
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_own_material(&key)?;
            call.require_enabled(&key)?;
            let current = key.rotation.map(|rotation| rotation.period_days);
            let period_days = self.rotation_period_in_days.unwrap_or(DEFAULT_PERIOD_DAYS);
            // Enabled again with the period it has, it goes on as it was.
            if current != Some(period_days) {
                let next = call.now + SignedDuration::from_hours(24 * period_days);
                key.rotation = Some(AutomaticRotation { period_days, next });
                writing.put_key(&key)?;
            }
            Ok(Done {})
        })
    }
}
