//! ListKeys: every key of the account, in every state.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::page::PageRequest;
use crate::error::KmsError;
use crate::state::KeyId;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListKeys {
    limit: Option<i64>,
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    keys: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key_id: KeyId,
    key_arn: String,
}

impl Operation for ListKeys {
    const NAME: &'static str = "ListKeys";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "limit": self.limit, "marker": self.marker })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        call.permit("*")?;
        let page = PageRequest::parse(self.limit, self.marker.as_deref(), (100, 1000))?;
        let after = page.after_id()?.map(KeyId::from_bytes);
        let mut keys = call.kms.state.read()?.keys_after(after, page.fetch())?;
        let next_marker = page.cut(&mut keys, |last| last.as_bytes().to_vec());
        Ok(Response {
            keys: keys.into_iter().map(|key_id| Entry { key_id, key_arn: call.kms.account.key_arn(key_id) }).collect(),
            truncated: next_marker.is_some(),
            next_marker,
        })
    }
}
