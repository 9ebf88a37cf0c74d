//! Drills: takes the key of a volume away, looks on, puts everything back, restores a snapshot, and writes down what
//! happened.
//!
//! A volume is driven from outside, by this program's own commands and by what it says of itself, as its user would.
//! Invariant: each change is in the undo record, on disk, before it is made.

mod allow;
mod checks;
mod command;
mod directory;
mod error;
mod interrupts;
mod kms;
mod moment;
mod new_volume;
mod observer;
pub mod policy;
mod process;
mod record;
mod recovery;
mod report;
mod request;
mod revocation;
mod run;
mod setup;
mod typed;
mod undo;
mod watch;
mod way;
mod workload;
mod yours;

pub use error::DrillError;
pub use observer::{is_observer, run_observer};
pub use record::UndoRecord;
pub use report::Report;
pub use request::{DrillRequest, SnapshotPlace, Subject, Thresholds, WorkloadKind};
pub use run::revoke;
pub use undo::{Undone, UndoneAll, finish_interrupted, undo_all};
pub use way::Way;
