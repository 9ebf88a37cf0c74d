//! ListResourceTags: the tags of a key.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::page::PageRequest;
use crate::error::KmsError;
use crate::state::Tag;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListResourceTags {
    key_id: Option<String>,
    limit: Option<i64>,
    marker: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

impl Operation for ListResourceTags {
    const NAME: &'static str = "ListResourceTags";
    const READ_ONLY: bool = true;
    type Response = Response;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "limit": self.limit, "marker": self.marker })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.check()?;
        let page = PageRequest::parse(self.limit, self.marker.as_deref(), (50, 50))?;
        let after = page.after_text()?;
        let key = call.key(&call.kms.state.read()?, key_id)?;
        let mut tags = key.tags;
        tags.sort_by(|a, b| a.tag_key.cmp(&b.tag_key));
        tags.retain(|tag| after.is_none_or(|after| tag.tag_key.as_str() > after));
        let next_marker = page.cut(&mut tags, |last| last.tag_key.clone().into_bytes());
        Ok(Response { tags, truncated: next_marker.is_some(), next_marker })
    }
}
