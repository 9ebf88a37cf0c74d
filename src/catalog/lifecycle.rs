//! What a volume is by its lifecycle record and its policy: available, recoverable until some time, or terminal.

use std::time::Duration;

use jiff::Timestamp;

use crate::format::{Cause, LifecycleRecord, LifecycleState, RevocationPolicy, UnverifiedSuperblock, VolumeId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its key was never revoked while it was served, or came back in time.
    Available,
    /// Inaccessible; may be attached again once the key is back, if that is before then.
    RecoverableUntil(Timestamp),
    Terminal,
}

/// The window is the policy's, which the MAC covers; the record, which anybody could write, can only say when it began.
pub(super) fn standing(record: Option<&LifecycleRecord>, header: &UnverifiedSuperblock, now: Timestamp) -> Standing {
    match record {
        _ if header.is_erased() => Standing::Terminal,
        None => Standing::Available,
        Some(record) => of_record(record, header.unproven().revocation_policy, now),
    }
}

fn of_record(record: &LifecycleRecord, policy: RevocationPolicy, now: Timestamp) -> Standing {
    let (LifecycleState::Recoverable, RevocationPolicy::Recoverable { window_s }) = (record.state, policy) else {
        return Standing::Terminal;
    };
    let began = Timestamp::from_millisecond(record.at_ms).ok();
    let until = began.and_then(|at| at.checked_add(Duration::from_secs(window_s.get().into())).ok());
    match until {
        Some(until) if now < until => Standing::RecoverableUntil(until),
        _ => Standing::Terminal,
    }
}

/// The record of a revocation, ready to be written.
pub fn revocation_record(
    id: &VolumeId,
    policy: RevocationPolicy,
    cause: Cause,
    at: Timestamp,
    detail: &str,
    request_id: Option<&str>,
) -> LifecycleRecord {
    LifecycleRecord {
        state: match policy {
            RevocationPolicy::Recoverable { .. } => LifecycleState::Recoverable,
            RevocationPolicy::Terminal | RevocationPolicy::Erase => LifecycleState::Terminal,
        },
        sequence: 1,
        volume_id: id.clone(),
        cause,
        at_ms: at.as_millisecond(),
        request_id: request_id.unwrap_or_default().to_owned(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::UNIX_EPOCH;

    fn of(state: LifecycleState, policy: RevocationPolicy, now_s: i64) -> Standing {
        let id = "vol-1".parse().unwrap();
        let record = revocation_record(&id, policy, Cause::KeyDisabled, AT, "", None);
        of_record(&LifecycleRecord { state, ..record }, policy, Timestamp::from_second(now_s).unwrap())
    }

    #[test]
    fn a_recoverable_volume_is_terminal_after_its_window() {
        let week = RevocationPolicy::RECOVERABLE_A_WEEK;
        let until = Timestamp::from_second(7 * 86_400).unwrap();
        assert_eq!(of(LifecycleState::Recoverable, week, 0), Standing::RecoverableUntil(until));
        assert_eq!(of(LifecycleState::Recoverable, week, 7 * 86_400 - 1), Standing::RecoverableUntil(until));
        assert_eq!(of(LifecycleState::Recoverable, week, 7 * 86_400), Standing::Terminal);
    }

    #[test]
    fn a_record_alone_makes_nothing_recoverable() {
        assert_eq!(of(LifecycleState::Recoverable, RevocationPolicy::Terminal, 1), Standing::Terminal);
        assert_eq!(of(LifecycleState::Recoverable, RevocationPolicy::Erase, 1), Standing::Terminal);
        assert_eq!(of(LifecycleState::Terminal, RevocationPolicy::RECOVERABLE_A_WEEK, 1), Standing::Terminal);
    }
}
