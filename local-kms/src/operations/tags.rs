//! Tags of keys: what they may be, and the condition keys that they make.

use super::call::Call;
use super::constraints::Constraints;
use crate::error::KmsError;
use crate::state::Tag;

/// AWS: tags per resource.
pub(super) const MAX_TAGS: usize = 50;

pub(super) fn constrain_tags(constraints: &mut Constraints, tags: Option<&[Tag]>) {
    for (i, tag) in (1..).zip(tags.unwrap_or_default()) {
        constraints.length(&format!("tags.{i}.member.tagKey"), Some(&tag.tag_key), 1..=128);
        constraints.length(&format!("tags.{i}.member.tagValue"), Some(&tag.tag_value), 0..=256);
    }
}

pub(super) fn check_tags(tags: &[Tag]) -> Result<(), KmsError> {
    if tags.len() > MAX_TAGS {
        return Err(KmsError::Tag("Too many tags"));
    }
    for (i, tag) in tags.iter().enumerate() {
        check_tag_key(&tag.tag_key)?;
        if tags[..i].iter().any(|other| other.tag_key == tag.tag_key) {
            return Err(KmsError::Tag("Duplicate tag keys"));
        }
    }
    Ok(())
}

pub(super) fn check_tag_key(key: &str) -> Result<(), KmsError> {
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(KmsError::Tag("Tags beginning with aws: are reserved"));
    }
    Ok(())
}

/// The tags that a request wants to set.
pub(super) fn describe_tags(tags: &[Tag], call: &mut Call) {
    if tags.is_empty() {
        return;
    }
    for tag in tags {
        call.facts.insert(format!("aws:RequestTag/{}", tag.tag_key), tag.tag_value.as_str());
    }
    call.facts.insert_list("aws:TagKeys", tags.iter().map(|tag| tag.tag_key.clone()).collect());
}
