//! ListKeyPolicies: the names of a key's policies, of which there is one.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::page::PageRequest;
use crate::error::KmsError;
use crate::key_policy::POLICY_NAME;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListKeyPolicies {
    key_id: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    policy_names: Vec<&'static str>,
    truncated: bool,
}

impl Operation for ListKeyPolicies {
    const NAME: &'static str = "ListKeyPolicies";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "limit": self.limit, "marker": self.marker })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.check()?;
        let page = PageRequest::parse(self.limit, self.marker.as_deref(), (100, 1000))?;
        call.key(&call.kms.state.read()?, key_id)?;
        let first_page = page.after.is_none();
        Ok(Response { policy_names: if first_page { vec![POLICY_NAME] } else { Vec::new() }, truncated: false })
    }
}
