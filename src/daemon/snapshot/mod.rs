//! A snapshot of an attached volume, at the request of a command that stays connected: its progress goes there, and when the
//! command is gone the snapshot is given up, to be continued by a repeat.

mod conversation;
mod order;
mod running;
mod subject;

pub(super) use conversation::converse;
pub use order::{S3Order, SnapshotOrder};
pub(super) use running::Snapshots;
pub(super) use subject::Subject;
