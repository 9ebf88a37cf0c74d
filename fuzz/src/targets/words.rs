//! What people type, or other programs give: names, ARNs, sizes, durations, places.

use std::fmt::Display;
use std::str::FromStr;

use envol::cli::quantity::{parse_duration, parse_long_duration, parse_patience, parse_policy, parse_size};
use envol::format::{DatabaseName, FileSystemKind, SnapshotId, VolumeId};
use envol::revocation::events::HookTarget;
use envol::snapshot::StoreLocation;
use kms_client::{KmsKeyArn, KmsKeyId, PrincipalArn};
use local_kms::PrincipalId;

use crate::patch::choice;

/// What is accepted reads as it is written.
fn word<T: FromStr + Display>(text: &str) {
    let Ok(word) = text.parse::<T>() else { return };
    let written = word.to_string();
    let again = written.parse::<T>().unwrap_or_else(|_| panic!("`{text}` is written `{written}`, which is refused"));
    assert_eq!(again.to_string(), written);
}

pub(super) fn words(data: &[u8]) {
    let (kind, text) = choice(data);
    let text = &*String::from_utf8_lossy(text);
    match kind % 14 {
        0 => word::<VolumeId>(text),
        1 => word::<SnapshotId>(text),
        2 => word::<DatabaseName>(text),
        3 => word::<KmsKeyArn>(text),
        4 => word::<PrincipalArn>(text),
        5 => word::<PrincipalId>(text),
        6 => word::<StoreLocation>(text),
        7 => word::<FileSystemKind>(text),
        8 => drop(text.parse::<HookTarget>()),
        9 => drop(parse_size(text)),
        10 => drop(parse_duration(text)),
        11 => drop(parse_patience(text)),
        12 => drop(parse_long_duration(text)),
        _ => {
            if let Ok(policy) = parse_policy(text) {
                assert_eq!(parse_policy(&policy.to_string()), Ok(policy));
            }
            if let Some(region) = KmsKeyId(text.to_owned()).region() {
                assert!(!region.is_empty());
            }
        }
    }
}
