//! The report before anything is made: what is to be done, and the limits that it is held to.

use jiff::Timestamp;
use serde_json::Value;

use super::{Host, Report, Who};
use crate::drill::directory::DrillDirectory;
use crate::drill::request::{DrillRequest, Subject, WorkloadKind};
use crate::drill::undo::Undone;

const NOT_TESTED: [&str; 5] = [
    "an outage of KMS, or of the network to it",
    "power loss of the host",
    "page caches of processes that had files mapped, memory dumps, swap",
    "how long AWS takes until a change is known everywhere: it is in the figures, but only as it was this time",
    "a recovery on another host",
];

fn not_tested(subject: &Subject) -> Vec<&'static str> {
    let more: &[&str] = match subject {
        Subject::ThrowAway { .. } => &[
            "the volumes in use: the drill has a throw-away volume of its own",
            "a recovery from the store in use: the drill's snapshot is in a directory of its own",
        ],
        Subject::Yours { .. } => &["the database on the restored volume: whoever has it attaches it and starts it"],
    };
    more.iter().chain(&NOT_TESTED).copied().collect()
}

/// What is fixed before anything is made.
pub(crate) fn skeleton(
    directory: &DrillDirectory,
    request: &DrillRequest,
    kind: WorkloadKind,
    size_bytes: u64,
    caller: Result<String, String>,
    service: Result<String, String>,
) -> Report {
    let proc =
        |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default().trim().to_owned();
    let unknown = [("drill", &caller), ("volume service", &service)];
    let (subject, from_snapshot) = match &request.subject {
        Subject::Yours { .. } => ("yours", None),
        Subject::ThrowAway { snapshot: None, .. } => ("throw-away", None),
        Subject::ThrowAway { snapshot: Some(snapshot), .. } => ("from-snapshot", Some(snapshot.id.clone())),
    };
    let unknown = unknown.into_iter().filter_map(|(who, arn)| Some(format!("{who}: {}", arn.as_ref().err()?)));
    Report {
        report_version: 1,
        drill_id: directory.id().to_owned(),
        envol_version: env!("CARGO_PKG_VERSION"),
        verdict: "unfinished",
        checks: Vec::new(),
        way: request.way,
        operation: request.way.operation(),
        subject,
        from_snapshot,
        workload: format!("{kind:?}").to_lowercase(),
        size_bytes,
        thresholds: request.thresholds,
        thresholds_fixed_at: Timestamp::now(),
        finished_at: None,
        who: Who {
            unknown: unknown.collect(),
            drill: caller.ok(),
            volume_service: service.ok(),
            grantee: request.grantee.as_ref().map(|arn| arn.as_str().to_owned()),
            kms_profile: request.kms_profile.clone(),
        },
        host: Host { name: proc("hostname"), kernel: proc("osrelease") },
        volume_id: None,
        mount_point: None,
        key: None,
        revocation: None,
        timeline: Vec::new(),
        observed: None,
        volume_said: Value::Null,
        purge: Value::Null,
        events: Vec::new(),
        database_log: Vec::new(),
        kms_calls: Vec::new(),
        clock: None,
        undo: Undone::default(),
        recovery: None,
        recovery_reason: Some("the drill did not come so far".to_owned()),
        not_tested: not_tested(&request.subject),
        written: None,
    }
}
