//! UntagResource: takes tags of a key away, those of the names given that it has.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::Call;
use super::constraints::Constraints;
use super::tags::check_tag_key;
use super::{Done, Operation};
use crate::error::KmsError;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagResource {
    key_id: Option<String>,
    tag_keys: Option<Vec<String>>,
}

impl Operation for UntagResource {
    const NAME: &'static str = "UntagResource";
    const READ_ONLY: bool = false;
    type Response = Done;

    fn parameters(&self) -> Value {
        json!({ "keyId": self.key_id, "tagKeys": self.tag_keys })
    }

    fn perform(&self, call: &mut Call) -> Result<Done, KmsError> {
        let mut constraints = Constraints::default();
        let key_id = constraints.key_id("keyId", self.key_id.as_deref());
        constraints.required("tagKeys", self.tag_keys.as_ref());
        let tag_keys = self.tag_keys.as_deref().unwrap_or_default();
        for (i, tag_key) in (1..).zip(tag_keys) {
            constraints.length(&format!("tagKeys.{i}.member"), Some(tag_key), 1..=128);
        }
        constraints.check()?;
        tag_keys.iter().try_for_each(|tag_key| check_tag_key(tag_key))?;
        call.facts.insert_list("aws:TagKeys", tag_keys.to_vec());
        let kms = call.kms;
        kms.state.write(|writing| {
            let mut key = call.key(writing, key_id)?;
            call.require_not_pending_deletion(&key)?;
            key.tags.retain(|tag| !tag_keys.contains(&tag.tag_key));
            writing.put_key(&key)?;
            Ok(Done {})
        })
    }
}
