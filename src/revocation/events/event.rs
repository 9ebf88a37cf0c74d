//! One transition of a volume, as its log holds it and a hook hears of it.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::format::VolumeId;

/// The names and the order of the fields are those of the JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    #[serde(serialize_with = "to_the_millisecond")]
    pub at: Timestamp,
    pub volume_id: VolumeId,
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// The state after it.
    pub state: VolumeState,
    /// What RDS calls that, where it has a word for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rds_status: Option<String>,
    /// As in `envol status`.
    pub cause: Option<String>,
    /// AWS's words.
    pub detail: Option<String>,
    /// Of the KMS answer that decided.
    pub request_id: Option<String>,
    /// One sentence for a person.
    pub message: String,
    /// What to do; `None` when there is nothing to do.
    pub next: Option<String>,
    pub pid: u32,
    pub by: RecordedBy,
    /// Of [`EventKind::Purged`] alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepRecord>>,
    /// Of [`EventKind::Purged`] alone: what could not be taken away. Empty when all is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    Attached,
    Detached,
    /// KMS stopped confirming the key; serving goes on.
    Unverified,
    /// It does again.
    Verified,
    DenialNotConfirmed,
    /// Unverified for longer than allowed: taken away, and may be attached again.
    Stopped,
    Recoverable,
    Terminal,
    Erased,
    Purged,
    /// Cleared up by the companion or by the next command.
    DaemonDied,
    /// A recoverable volume was attached again in time.
    Recovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeState {
    InUse,
    Available,
    Recoverable,
    Terminal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedBy {
    Daemon,
    Companion,
    Command,
}

/// One step of a purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    pub step: String,
    /// When it began, counted from the verdict.
    pub at_ms: u64,
    pub took_us: u64,
    pub error: Option<String>,
}

impl Event {
    /// Of this moment and this process, by the daemon.
    pub fn new(volume_id: VolumeId, kind: EventKind, state: VolumeState, message: impl Into<String>) -> Self {
        let of_a_purge = kind == EventKind::Purged;
        Self {
            at: Timestamp::now(),
            volume_id,
            kind,
            state,
            rds_status: kind.rds_status().map(str::to_owned),
            cause: None,
            detail: None,
            request_id: None,
            message: message.into(),
            next: None,
            pid: std::process::id(),
            by: RecordedBy::Daemon,
            steps: of_a_purge.then(Vec::new),
            left: of_a_purge.then(Vec::new),
        }
    }

    #[must_use]
    pub fn at(self, at: Timestamp) -> Self {
        Self { at, ..self }
    }

    #[must_use]
    pub fn by(self, by: RecordedBy) -> Self {
        Self { by, ..self }
    }

    #[must_use]
    pub fn cause(self, cause: impl fmt::Display) -> Self {
        Self { cause: Some(cause.to_string()), ..self }
    }

    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    #[must_use]
    pub fn request_id(self, request_id: Option<String>) -> Self {
        Self { request_id, ..self }
    }

    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: Some(next.into()), ..self }
    }

    /// What a purge did, and what it could not take away.
    #[must_use]
    pub fn purge(self, steps: Vec<StepRecord>, left: Vec<String>) -> Self {
        Self { steps: Some(steps), left: Some(left), ..self }
    }

    pub fn rds_status(&self) -> Option<&str> {
        self.rds_status.as_deref()
    }

    /// How loud it is in a log for people.
    pub(super) fn level(&self) -> tracing::Level {
        match self.kind {
            EventKind::Terminal | EventKind::Erased | EventKind::Recoverable | EventKind::Stopped => {
                tracing::Level::ERROR
            }
            EventKind::Unverified | EventKind::DenialNotConfirmed | EventKind::DaemonDied => tracing::Level::WARN,
            EventKind::Purged if self.left.as_ref().is_some_and(|left| !left.is_empty()) => tracing::Level::WARN,
            EventKind::Purged
            | EventKind::Attached
            | EventKind::Detached
            | EventKind::Verified
            | EventKind::Recovered => tracing::Level::INFO,
        }
    }
}

impl EventKind {
    /// Source: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html>
    pub fn rds_status(self) -> Option<&'static str> {
        match self {
            Self::Terminal | Self::Erased => Some("inaccessible-encryption-credentials"),
            Self::Recoverable => Some("inaccessible-encryption-credentials-recoverable"),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Detached => "detached",
            Self::Unverified => "unverified",
            Self::Verified => "verified",
            Self::DenialNotConfirmed => "denial-not-confirmed",
            Self::Stopped => "stopped",
            Self::Recoverable => "recoverable",
            Self::Terminal => "terminal",
            Self::Erased => "erased",
            Self::Purged => "purged",
            Self::DaemonDied => "daemon-died",
            Self::Recovered => "recovered",
        }
    }
}

impl VolumeState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InUse => "in-use",
            Self::Available => "available",
            Self::Recoverable => "recoverable",
            Self::Terminal => "terminal",
        }
    }
}

fn to_the_millisecond<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(kind: EventKind, state: VolumeState) -> Event {
        let at = "2026-11-24T21:00:00Z".parse().unwrap();
        Event { pid: 123, ..Event::new("vol-1".parse().unwrap(), kind, state, "it happened").at(at) }
    }

    #[test]
    fn the_json_is_what_others_rely_on() {
        let terminal = event(EventKind::Terminal, VolumeState::Terminal)
            .cause("key-disabled")
            .detail("DisabledException: it is disabled.")
            .request_id(Some("r-1".to_owned()))
            .next("restore a backup");
        let expected = r#"{"at":"2026-11-24T21:00:00.000Z","volume_id":"vol-1","event":"terminal","state":"terminal","rds_status":"inaccessible-encryption-credentials","cause":"key-disabled","detail":"DisabledException: it is disabled.","request_id":"r-1","message":"it happened","next":"restore a backup","pid":123,"by":"daemon"}"#;
        assert_eq!(serde_json::to_string(&terminal).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Event>(expected).unwrap(), terminal);

        let detached = event(EventKind::Detached, VolumeState::Available).by(RecordedBy::Command);
        let expected = r#"{"at":"2026-11-24T21:00:00.000Z","volume_id":"vol-1","event":"detached","state":"available","cause":null,"detail":null,"request_id":null,"message":"it happened","next":null,"pid":123,"by":"command"}"#;
        assert_eq!(serde_json::to_string(&detached).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Event>(expected).unwrap(), detached);
    }

    #[test]
    fn a_purge_always_has_steps_and_what_is_left() {
        let json = |event: &Event| serde_json::to_value(event).unwrap();
        let verified = event(EventKind::Purged, VolumeState::Terminal);
        assert_eq!((&json(&verified)["steps"], &json(&verified)["left"]), (&json!([]), &json!([])));
        let step = StepRecord { step: "keys-wiped".to_owned(), at_ms: 1, took_us: 12, error: None };
        let purged = verified.purge(vec![step], vec!["/mnt".to_owned()]);
        assert_eq!(json(&purged)["steps"], json!([{ "step": "keys-wiped", "at_ms": 1, "took_us": 12, "error": null }]));
        assert_eq!(json(&purged)["left"], json!(["/mnt"]));
        assert_eq!(serde_json::from_value::<Event>(json(&purged)).unwrap(), purged);
    }

    #[test]
    fn a_kind_and_a_state_have_one_name_each_for_people_and_programs() {
        use EventKind::*;
        for kind in [
            Attached,
            Detached,
            Unverified,
            Verified,
            DenialNotConfirmed,
            Stopped,
            Recoverable,
            Terminal,
            Erased,
            Purged,
            DaemonDied,
            Recovered,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), Value::from(kind.as_str()));
        }
        for state in [VolumeState::InUse, VolumeState::Available, VolumeState::Recoverable, VolumeState::Terminal] {
            assert_eq!(serde_json::to_value(state).unwrap(), Value::from(state.as_str()));
        }
    }

    #[test]
    fn a_purge_that_left_something_is_louder_than_one_that_did_not() {
        let verified = event(EventKind::Purged, VolumeState::Terminal);
        assert_eq!(verified.level(), tracing::Level::INFO);
        assert_eq!(verified.purge(Vec::new(), vec!["/mnt".to_owned()]).level(), tracing::Level::WARN);
        assert_eq!(event(EventKind::Stopped, VolumeState::Available).level(), tracing::Level::ERROR);
        assert_eq!(event(EventKind::DaemonDied, VolumeState::Available).level(), tracing::Level::WARN);
    }
}
