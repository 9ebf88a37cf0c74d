//! What became of a volume, on record: a line in its log, one in the journal, and a hook that tells somebody.

mod event;
mod hook;
mod log;
mod reporter;

pub use event::{Event, EventKind, RecordedBy, StepRecord, VolumeState};
pub use hook::{Hook, HookTarget, InvalidHook};
pub use log::{EventLog, StoredEvent};
pub use reporter::Reporter;
