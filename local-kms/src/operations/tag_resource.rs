//! TagResource: sets tags of a key, in place of those of the same names.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::tags::{MAX_TAGS, check_tags, constrain_tags, describe_tags};
use super::{Done, Operation};
use crate::error::KmsError;
use crate::state::Tag;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagResource {
    key_id: Option<String>,
    tags: Option<Vec<Tag>>,
}

impl Operation for TagResource {
    const NAME: &'static str = "TagResource";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        let tag = |tag: &Tag| json!({ "tagKey": tag.tag_key, "tagValue": tag.tag_value });
        json!({ "keyId": self.key_id, "tags": self.tags.as_ref().map(|tags| tags.iter().map(tag).collect::<Vec<_>>()) })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.required("tags", self.tags.as_ref());
        constrain_tags(&mut constraints, self.tags.as_deref());
        constraints.check()?;
        let tags = self.tags.as_deref().unwrap_or_default();
        check_tags(tags)?;
        describe_tags(tags, call);
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_not_pending_deletion(&key)?;
            for tag in tags {
                match key.tags.iter_mut().find(|known| known.tag_key == tag.tag_key) {
                    Some(known) => known.tag_value.clone_from(&tag.tag_value),
                    None => key.tags.push(tag.clone()),
                }
            }
            if key.tags.len() > MAX_TAGS {
                return Err(KmsError::Tag("Too many tags"));
            }
            writing.put_key(&key)?;
            Ok(Done {})
        })
    }
}
