//! What holds of every JSON that is read.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What is read can be written, and means the same when it is read again.
pub(super) fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(bytes).ok()?;
    let written = serde_json::to_vec(&value).expect("what was read can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("and written"), written);
    Some(value)
}
