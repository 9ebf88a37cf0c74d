//! One process for each attached volume: wires the rooms below together once, and knows the order in and out.
//!
//! It decides nothing. What a volume answers is the business of `volume`; whether the key is revoked, of `revocation`.
//!
//! No thread of this process may touch its own mount: a thread that waits for the file system above the image waits
//! for this very process, and if that is killed meanwhile, the wait never ends and neither does the mount. Whatever
//! touches the mount runs in a child process (`host`).

mod attach;
mod attached;
mod aws_source;
mod companion;
mod control;
mod detach;
mod error;
mod file_system;
pub mod footprint;
mod guard;
mod hardening;
mod holders;
mod kms_wait;
mod leftovers;
pub mod metrics;
mod options;
mod program;
mod readiness;
mod remains;
mod report;
mod resize;
mod rewrap;
mod serve;
mod snapshot;
mod spawn;
mod terminal;
mod waiting;

pub use attach::run;
pub use companion::{is_companion, run_companion};
pub use control::{
    Command, ControlError, Conversation, FileSystemOutcome, LiveStatus, Reply, Request, ResizeOutcome,
    SnapshotProgress, ask, ask_while_it_answers,
};
pub use error::DaemonError;
pub use leftovers::{clear_leftovers, cut_off, finish_interrupted};
pub use metrics::{Counters, exposition};
pub use options::AttachOptions;
pub use program::Program;
pub use readiness::report_failure;
pub use snapshot::{S3Order, SnapshotOrder};
pub use spawn::{Started, spawn_detached};
