//! What a drill says in the end: for programs, for people, and for whoever has to sign it.

mod drawing;
mod html;
mod judge;
mod plan;
mod recovery;
mod terminal;
mod timeline;
mod write;

use jiff::Timestamp;
use kms_client::{CallRecord, KmsKeyArn, ListedGrant};
use serde::Serialize;
use serde_json::Value;

use super::recovery::Recovery;
use super::request::Thresholds;
use super::run::Findings;
use super::undo::Undone;
use super::way::Way;
use crate::format::SnapshotId;

pub(super) use plan::skeleton;
pub(super) use write::{write, write_plan};

/// The names are those of report.json; what is not known is null.
#[derive(Debug, Serialize)]
pub struct Report {
    report_version: u32,
    pub drill_id: String,
    envol_version: &'static str,
    /// `pass` or `fail`; `unfinished` while nothing is known.
    pub verdict: &'static str,
    checks: Vec<Check>,
    way: Way,
    operation: &'static str,
    /// `throw-away`, `from-snapshot` or `yours`.
    subject: &'static str,
    from_snapshot: Option<SnapshotId>,
    workload: String,
    size_bytes: u64,
    /// Fixed before anything was made.
    thresholds: Thresholds,
    thresholds_fixed_at: Timestamp,
    finished_at: Option<Timestamp>,
    who: Who,
    host: Host,
    volume_id: Option<String>,
    mount_point: Option<String>,
    key: Option<Key>,
    revocation: Option<Revocation>,
    timeline: Vec<Entry>,
    observed: Option<Observed>,
    /// The verdict as the volume gave it: an event, or `status` where there is none.
    volume_said: Value,
    purge: Value,
    events: Vec<Value>,
    /// What the database itself wrote, the last lines.
    database_log: Vec<String>,
    kms_calls: Vec<CallRecord>,
    clock: Option<Clock>,
    undo: Undone,
    recovery: Option<Recovery>,
    /// Why there is none.
    recovery_reason: Option<String>,
    not_tested: Vec<&'static str>,
    /// Where report.json is, and its checksum: not part of it.
    #[serde(skip)]
    pub written: Option<Written>,
}

#[derive(Debug)]
pub struct Written {
    pub directory: std::path::PathBuf,
    pub sha256: String,
}

/// One line of the verdict.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    says: &'static str,
    limit_ms: Option<u64>,
    measured_ms: Option<f64>,
    pass: bool,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Who {
    /// ARNs, as STS knows them.
    drill: Option<String>,
    volume_service: Option<String>,
    /// Why one is not known.
    unknown: Vec<String>,
    grantee: Option<String>,
    kms_profile: Option<String>,
}

#[derive(Debug, Serialize)]
struct Host {
    name: String,
    kernel: String,
}

#[derive(Debug, Serialize)]
struct Key {
    arn: KmsKeyArn,
    /// Made for this drill, and to be deleted.
    own: bool,
    shared: bool,
    before: KeyView,
    revoked: KeyView,
    undone: Option<KeyView>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct KeyView {
    pub(super) state: String,
    pub(super) policy: String,
    pub(super) grants: Vec<ListedGrant>,
}

#[derive(Debug, Serialize)]
struct Revocation {
    asked_at: Timestamp,
    /// T0.
    acknowledged_at: Timestamp,
    took_ms: f64,
    request_id: Option<String>,
}

/// A point of the timeline.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    label: String,
    /// After T0.
    at_ms: f64,
    kind: Kind,
    /// Who knows: the KMS, the volume, the kernel, the observer.
    source: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Kms,
    Access,
    Verdict,
    Purge,
    Gone,
}

#[derive(Debug, Serialize)]
struct Observed {
    read: ObservedProbe,
    commit: ObservedProbe,
    observer_ended_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct ObservedProbe {
    what: &'static str,
    successes: u64,
    last_success_ms: Option<f64>,
    first_failure_ms: Option<f64>,
    errno: Option<i32>,
    message: Option<String>,
    successes_after_failure: u64,
    longest_ms: f64,
}

#[derive(Debug, Serialize)]
struct Clock {
    /// The clock of KMS minus this host's.
    offset_ms: f64,
    uncertainty_ms: f64,
    note: &'static str,
}

impl Report {
    pub fn is_pass(&self) -> bool {
        self.verdict == "pass"
    }

    /// The limits that were not kept, in words.
    pub fn failures(&self) -> String {
        let failed = self.checks.iter().filter(|check| !check.pass);
        failed.map(judge::sentence).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn announcement(&self, key: Option<&KmsKeyArn>) -> String {
        let limits = &self.thresholds;
        format!(
            "{}: {} under {}, workload {}; detected within {} ms, purged within {} ms of that",
            self.drill_id,
            self.operation,
            key.map_or("a key of its own".to_owned(), ToString::to_string),
            self.workload,
            limits.detect_within_ms,
            limits.purge_within_ms,
        )
    }

    pub(super) fn finish(
        &mut self,
        findings: Findings,
        key_undone: Option<KeyView>,
        undone: Undone,
        calls: Vec<CallRecord>,
    ) {
        self.timeline = timeline::entries(&findings);
        self.observed = Some(timeline::observed(&findings));
        self.checks = judge::checks(&findings, &self.thresholds, &undone);
        self.verdict = if self.checks.iter().all(|check| check.pass) { "pass" } else { "fail" };
        let call = calls.iter().rfind(|call| {
            call.operation == self.operation
                && call.started_at >= findings.asked.wall
                && call.started_at <= findings.acknowledged.wall
        });
        self.revocation = Some(Revocation {
            asked_at: findings.asked.wall,
            acknowledged_at: findings.acknowledged.wall,
            took_ms: findings.asked.ms_until(findings.acknowledged.monotonic_us),
            request_id: call.and_then(|call| call.request_id.clone()),
        });
        self.clock = call.and_then(timeline::clock);
        self.key = Some(Key {
            arn: findings.key,
            own: findings.own_key,
            shared: !findings.own_key
                && findings
                    .key_before
                    .grants
                    .iter()
                    .any(|grant| grant.name.as_deref() != Some(findings.volume_id.as_str())),
            before: findings.key_before,
            revoked: findings.key_revoked,
            undone: key_undone,
        });
        self.workload = findings.workload;
        self.who.grantee = findings.grantee.map(|arn| arn.as_str().to_owned());
        (self.recovery, self.recovery_reason) = match findings.recovery {
            Ok(recovery) => (Some(recovery), None),
            Err(reason) => (None, Some(reason)),
        };
        self.volume_id = Some(findings.volume_id.to_string());
        self.mount_point = Some(findings.mount_point.display().to_string());
        self.volume_said = findings.watched.told.verdict;
        self.purge = findings.watched.told.purged.unwrap_or_default();
        self.events = findings.watched.told.events;
        self.database_log = findings.log_tail;
        self.kms_calls = calls;
        self.undo = undone;
        self.finished_at = Some(Timestamp::now());
    }

    pub fn to_text(&self) -> String {
        terminal::text(self)
    }
}
