//! The watcher of the key, what each answer of KMS means for a volume that is being served, and the record of what became
//! of it.

mod decision;
pub mod events;
mod guardian;
mod heartbeat;
mod outage;
mod probes;
mod purge;
#[cfg(test)]
mod tests;

pub use decision::{Verdict, decide};
pub use guardian::{GuardianOptions, KeyGuardian, KmsSource, Revocation, Transition, Trust, Verification};
pub use heartbeat::{Heartbeat, Lease};
pub use probes::{AnswerCounters, ProbeAnswer, ProbeCounters, Probes};
pub use purge::{HOST_STEPS, Plaintext, Purge, Step};
