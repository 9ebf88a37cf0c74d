//! GetKeyPolicy: the text of a key's policy, as it was put.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::put_key_policy::{check_policy_name, constrain_policy_name};
use crate::error::KmsError;
use crate::key_policy::{POLICY_NAME, default_policy};
use crate::state::Lookup;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetKeyPolicy {
    key_id: Option<String>,
    policy_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    policy: String,
    policy_name: &'static str,
}

impl Operation for GetKeyPolicy {
    const NAME: &'static str = "GetKeyPolicy";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "policyName": self.policy_name })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constrain_policy_name(&mut constraints, self.policy_name.as_deref());
        constraints.check()?;
        let reading = call.kms.state.read()?;
        let key = call.key(&reading, key_id)?;
        check_policy_name(self.policy_name.as_deref())?;
        let policy = reading.key_policy(key.id)?.unwrap_or_else(|| default_policy(&call.kms.account));
        Ok(Response { policy, policy_name: POLICY_NAME })
    }
}
