//! After a revocation nothing of the volume stays on the host: no mount in any namespace, no device, no page, no process with
//! a copy, whatever stood on it or was in the way. The control is beside each: until then it was there.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

#[path = "../harness/mod.rs"]
mod harness;
mod obstacles;
mod processes;
mod scene;
mod watchers;
