//! Gives the key back: what the undo does to it in the end, and the recovery before that.

use kms_client::{KeyState, Kms, KmsAdmin, KmsKeyArn, KmsKeyId};

use super::error::DrillError;
use super::kms::DrillKms;
use super::policy::without_denial;
use super::way::Way;

pub(super) fn enable(kms: &DrillKms, key: &KmsKeyArn, way: Way) -> Result<String, DrillError> {
    let state = kms.wait(kms.client.describe_key(&KmsKeyId::from(key)))?.state;
    match state {
        KeyState::PendingDeletion if way == Way::ScheduleKeyDeletion => {
            kms.wait(kms.client.cancel_key_deletion(key))?;
            kms.wait(kms.client.enable_key(key))?;
            Ok(format!("key {key}: deletion cancelled, enabled again"))
        }
        KeyState::Disabled => {
            kms.wait(kms.client.enable_key(key))?;
            Ok(format!("key {key}: enabled again"))
        }
        state => Ok(format!("key {key} is {state}: nothing to enable")),
    }
}

pub(super) fn restore_policy(
    kms: &DrillKms,
    key: &KmsKeyArn,
    sid: &str,
    original: &str,
    edited: &str,
) -> Result<String, DrillError> {
    let current = kms.wait(kms.client.key_policy(key))?;
    match without_denial(&current, sid, original, edited).map_err(DrillError::Failed)? {
        None => Ok(format!("policy of {key}: nothing of the drill's was in it")),
        Some(policy) => {
            kms.wait(kms.client.put_key_policy(key, &policy))?;
            let how = if policy == original { "as before, to the letter" } else { "the drill's statement removed" };
            Ok(format!("policy of {key}: {how}"))
        }
    }
}
