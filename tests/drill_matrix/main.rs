//! The drill matrix: what the owner of a key and what trouble on the way to KMS does to a volume that is served. An owner's
//! decision ends it for good, anything else is ridden through, and the same volume ends when its key is disabled then.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

#[path = "../harness/mod.rs"]
mod harness;

mod drill;
mod ends;
mod identities;
mod imported;
mod outages;
mod scripted;
mod served;
mod unaffected;

use std::time::Duration;

/// For whatever a drill waits for: a probe that is tried twice, its confirmation, and a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Nothing but a grant allows it anything.
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";
