//! The findings in order of time, relative to T0: when KMS had acknowledged the revocation.

use kms_client::CallRecord;
use serde_json::Value;

use super::{Clock, Entry, Kind, Observed, ObservedProbe};
use crate::drill::moment::to_ms;
use crate::drill::observer::Seen;
use crate::drill::run::{Findings, text_of};

pub(super) fn entries(findings: &Findings) -> Vec<Entry> {
    let t0 = findings.acknowledged;
    let mut entries = Vec::new();
    let mut add = |label: &str, at_ms: Option<f64>, kind, source| {
        let label = label.to_owned();
        entries.extend(at_ms.map(|at_ms| Entry { label, at_ms, kind, source }));
    };
    add("revocation asked for", Some(t0.ms_until(findings.asked.monotonic_us)), Kind::Kms, "drill");
    add("KMS acknowledged (T0)", Some(0.0), Kind::Kms, "drill");
    let relative = |us: Option<i64>| us.map(|us| t0.ms_until(us));
    for (name, seen) in [("read", &findings.seen.read), ("commit", &findings.seen.commit)] {
        add(&format!("last {name} that succeeded"), relative(seen.last_success_us), Kind::Access, "observer");
        if let Some((at_us, failure)) = &seen.first_failure {
            let why = failure.errno.map_or_else(String::new, |errno| format!(" ({})", errno_name(errno)));
            add(&format!("first {name} that failed{why}"), relative(Some(*at_us)), Kind::Access, "observer");
        }
    }
    add("observer ended with the volume's users", relative(findings.seen.ended_us), Kind::Access, "observer");
    let told = &findings.watched.told;
    let verdict_ms = told.verdict_at.map(|at| t0.ms_until_wall(at));
    let cause = text_of(&told.verdict, "cause").unwrap_or_else(|| "revoked".to_owned());
    add(&format!("verdict: {cause}"), verdict_ms, Kind::Verdict, "volume");
    for (step, at_ms) in told.purged.as_ref().map(steps).unwrap_or_default() {
        add(&format!("purge: {step}"), verdict_ms.map(|verdict| verdict + at_ms), Kind::Purge, "volume");
    }
    let gone = &findings.watched.gone;
    add("mount gone", relative(gone.mount_us), Kind::Gone, "kernel");
    add("loop device gone", relative(gone.loop_us), Kind::Gone, "kernel");
    add("FUSE connection gone", relative(gone.fuse_us), Kind::Gone, "kernel");
    add("daemon gone", relative(gone.daemon_us), Kind::Gone, "kernel");
    if findings.has_database {
        add("database process gone", relative(gone.database_us), Kind::Gone, "kernel");
    }
    entries.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    entries
}

/// Name, and when it was done after the verdict.
pub(super) fn steps(purged: &Value) -> Vec<(String, f64)> {
    let steps = purged["steps"].as_array().into_iter().flatten();
    let done_ms = |step: &Value| Some(step["at_ms"].as_f64()? + step["took_us"].as_f64().unwrap_or(0.0) / 1000.0);
    steps.filter_map(|step| Some((text_of(step, "step")?, done_ms(step)?))).collect()
}

pub(super) fn observed(findings: &Findings) -> Observed {
    let t0 = findings.acknowledged;
    let probe = |what, seen: &Seen| ObservedProbe {
        what,
        successes: seen.successes,
        last_success_ms: seen.last_success_us.map(|us| t0.ms_until(us)),
        first_failure_ms: seen.first_failure.as_ref().map(|(us, _)| t0.ms_until(*us)),
        errno: seen.first_failure.as_ref().and_then(|(_, failure)| failure.errno),
        message: seen.first_failure.as_ref().map(|(_, failure)| failure.message.clone()),
        successes_after_failure: seen.successes_after_failure,
        longest_ms: to_ms(seen.longest_us),
    };
    Observed {
        read: probe("a direct read of 4096 bytes, every 10 ms", &findings.seen.read),
        commit: probe("a commit, every 50 ms", &findings.seen.commit),
        observer_ended_ms: findings.seen.ended_us.map(|us| t0.ms_until(us)),
    }
}

/// From the answer to the revocation. Its date has whole seconds, so half a second is added, and half a second either
/// way is open.
pub(super) fn clock(call: &CallRecord) -> Option<Clock> {
    let server_ms = call.server_date?.as_millisecond();
    let offset_ms = server_ms - call.started_at.as_millisecond();
    Some(Clock {
        offset_ms: to_ms(offset_ms * 1000) + 500.0 - call.took_ms / 2.0,
        uncertainty_ms: 500.0 + call.took_ms / 2.0,
        note: "the Date of KMS's answer to the revocation minus the middle of that call here; Date has whole seconds, so it \
               is known to half a second either way",
    })
}

fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::EIO => "EIO",
        libc::ENOTCONN => "ENOTCONN",
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EROFS => "EROFS",
        libc::ENXIO => "ENXIO",
        libc::ENODEV => "ENODEV",
        libc::ESHUTDOWN => "ESHUTDOWN",
        other => return format!("errno {other}"),
    };
    name.to_owned()
}
