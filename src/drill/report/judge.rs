//! The verdict: each limit that was fixed beforehand, and what was measured.

use super::Check;
use super::timeline::steps;
use crate::drill::request::Thresholds;
use crate::drill::run::Findings;
use crate::drill::undo::Undone;

pub(super) fn checks(findings: &Findings, limits: &Thresholds, undone: &Undone) -> Vec<Check> {
    let t0 = findings.acknowledged;
    let watched = &findings.watched;
    let verdict_ms = watched.told.verdict_at.map(|at| t0.ms_until_wall(at));
    let within = |name, says, limit_ms: u64, measured_ms: Option<f64>, note| {
        let pass = measured_ms.is_some_and(|measured| is_within(measured, limit_ms));
        Check { name, says, limit_ms: Some(limit_ms), measured_ms, pass, note }
    };

    let told = watched
        .told
        .purged
        .as_ref()
        .and_then(|purged| steps(purged).into_iter().find(|(step, _)| step == "verified").map(|(_, at_ms)| at_ms));
    let seen = watched.gone.volume_us().zip(verdict_ms).map(|(us, verdict)| t0.ms_until(us) - verdict);
    let (purged_ms, source) = match told {
        Some(told) => (Some(told), "the volume's own account"),
        None => (seen, "as the kernel showed it, to 10 ms"),
    };
    let last_access_us = findings.seen.read.last_success_us.max(findings.seen.commit.last_success_us);
    let access_ms = last_access_us.zip(verdict_ms).map(|(us, verdict)| (t0.ms_until(us) - verdict).max(0.0));

    vec![
        within("detected", "from T0 until the volume's verdict", limits.detect_within_ms, verdict_ms, None),
        within(
            "purged",
            "from the verdict until mount, loop device, FUSE and daemon are gone",
            limits.purge_within_ms,
            purged_ms,
            Some(source.to_owned()),
        ),
        within(
            "no-access",
            "from the verdict until the last read or commit that succeeded",
            limits.purge_within_ms,
            access_ms,
            None,
        ),
        without_limit("nothing-left", "nothing of the volume or its database is left", &left(findings)),
        recovered(findings, limits.recover_within_ms),
        without_limit("undone", "what the drill changed is as before", &undone.failed),
    ]
}

fn is_within(measured_ms: f64, limit_ms: u64) -> bool {
    measured_ms <= f64::from(u32::try_from(limit_ms).unwrap_or(u32::MAX))
}

/// How long it takes depends on how much there is to restore: it is judged only where somebody gave a limit.
fn recovered(findings: &Findings, limit_ms: Option<u64>) -> Check {
    let name = "recovered";
    match &findings.recovery {
        Ok(recovery) => {
            let (says, measured) = match recovery.database_up_ms {
                Some(up) => ("from the key being allowed again until a restored volume is at work", up),
                None => ("from the key being allowed again until there is a restored volume", recovery.restored_ms),
            };
            let note = recovery.lost_commits.map(|lost| {
                format!("{lost} commits, acknowledged between snapshot and revocation, are not in the snapshot")
            });
            let pass = limit_ms.is_none_or(|limit| is_within(measured, limit));
            Check { name, says, limit_ms, measured_ms: Some(measured), pass, note }
        }
        Err(reason) => {
            let says = "a restored volume is at work";
            Check { name, says, limit_ms: None, measured_ms: None, pass: false, note: Some(reason.clone()) }
        }
    }
}

fn without_limit(name: &'static str, says: &'static str, left: &[String]) -> Check {
    let note = (!left.is_empty()).then(|| left.join("; "));
    Check { name, says, limit_ms: None, measured_ms: None, pass: note.is_none(), note }
}

fn left(findings: &Findings) -> Vec<String> {
    let gone = &findings.watched.gone;
    let database = if findings.has_database { gone.database_us } else { Some(0) };
    let traces = [
        ("the mount", gone.mount_us),
        ("the loop device", gone.loop_us),
        ("the FUSE connection", gone.fuse_us),
        ("the daemon", gone.daemon_us),
        ("the database's process", database),
    ];
    let mut left: Vec<String> =
        traces.iter().filter(|(_, gone)| gone.is_none()).map(|(what, _)| (*what).to_owned()).collect();
    let told = findings.watched.told.purged.as_ref().and_then(|purged| purged["left"].as_array());
    left.extend(told.into_iter().flatten().filter_map(|what| what.as_str().map(str::to_owned)));
    let late = findings.seen.read.successes_after_failure + findings.seen.commit.successes_after_failure;
    if late > 0 {
        left.push(format!("{late} tries succeeded after one had failed"));
    }
    if findings.watched.gave_up && left.is_empty() {
        left.push("the drill waited for as long as it may, and not everything that it waits for was seen".to_owned());
    }
    left
}

/// What was not kept.
pub(super) fn sentence(check: &Check) -> String {
    match (check.limit_ms, check.measured_ms, &check.note) {
        (Some(limit), Some(measured), _) => {
            format!("{}: {measured:.0} ms {}, and the limit is {limit} ms", check.name, check.says)
        }
        (Some(limit), None, _) => format!("{}: never seen; the limit is {limit} ms {}", check.name, check.says),
        (None, _, Some(note)) => format!("{}: {note}", check.name),
        (None, _, None) => check.name.to_owned(),
    }
}
