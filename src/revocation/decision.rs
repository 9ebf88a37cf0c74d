//! The decision table: what an answer of KMS to a probe means. `docs/semantics.md` has the same table for people.

use kms_client::{Answer, KeyState, KmsError};

use crate::format::Cause;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The owner of the key took it away. No second question.
    Revoked(Cause),
    /// Revoked if KMS says so again: it is eventually consistent, and one such answer may be a stale replica's.
    Denied(Cause),
    /// Nobody with a say has answered: ride through, and count the seconds.
    Unreachable,
    /// This header is not of this key: an alarm, but not the owner's decision.
    Mismatch,
}

/// `described` is what `DescribeKey` said after an [`Answer::InvalidState`], where it could be asked.
///
/// Source: <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>
pub fn decide(error: &KmsError, described: Option<&KeyState>) -> Verdict {
    match error.answer {
        Answer::Disabled => Verdict::Revoked(Cause::KeyDisabled),
        Answer::InvalidState => match described {
            Some(KeyState::Disabled) => Verdict::Revoked(Cause::KeyDisabled),
            Some(KeyState::PendingDeletion) => Verdict::Revoked(Cause::KeyPendingDeletion),
            Some(KeyState::PendingReplicaDeletion) => Verdict::Revoked(Cause::KeyPendingReplicaDeletion),
            Some(KeyState::PendingImport) => Verdict::Revoked(Cause::KeyPendingImport),
            _ => Verdict::Unreachable,
        },
        Answer::AccessDenied => Verdict::Denied(Cause::AccessDenied),
        Answer::NotFound => Verdict::Denied(Cause::KeyNotFound),
        Answer::WrongCiphertext => Verdict::Mismatch,
        Answer::Unauthenticated | Answer::Other | Answer::Unreachable => Verdict::Unreachable,
    }
}
