//! The watcher of the key, and what each answer of KMS means for a volume that is being served.

mod decision;
mod guardian;
#[cfg(test)]
mod tests;

pub use decision::{Verdict, decide};
pub use guardian::{GuardianOptions, KeyGuardian, KmsSource, Revocation, Verification};
