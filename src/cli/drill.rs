//! `envol drill`: rehearses a revocation, or finishes the undo of one.

use std::io::{self, IsTerminal};
use std::time::Duration;

use kms_client::KmsKeyId;
use serde_json::json;

use super::arguments::{Drill, DrillRevoke};
use super::confirmation::is_answered;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use super::snapshot::Store;
use crate::catalog::Root;
use crate::drill::{self, DrillRequest, SnapshotPlace, Subject, Thresholds, UndoneAll};
use crate::format::{Geometry, SnapshotId, VolumeId};

/// What was written since is lost.
const MAX_SNAPSHOT_AGE: Duration = Duration::from_secs(3600);

pub(super) fn run(root: &Root, verb: &Drill, output: &Output) -> Result<(), CliError> {
    match verb {
        Drill::Revoke(verb) => revoke(root, verb, output),
        Drill::Undo => undo(root, output),
    }
}

fn revoke(root: &Root, verb: &DrillRevoke, output: &Output) -> Result<(), CliError> {
    let subject = subject(root, verb)?;
    let (probe_interval, confirm_denial) = match subject {
        Subject::ThrowAway { .. } => (Duration::from_secs(1), Duration::from_secs(1)),
        // As `attach` has them.
        Subject::Yours { .. } => (Duration::from_secs(10), Duration::from_secs(5)),
    };
    let thresholds = Thresholds::new(
        verb.by,
        verb.probe_interval.unwrap_or(probe_interval),
        verb.confirm_denial.unwrap_or(confirm_denial),
        verb.detect_within,
        verb.purge_within,
        verb.recover_within,
    );
    let request = DrillRequest {
        way: verb.by,
        subject,
        kms_key: verb.kms_key.clone().map(KmsKeyId),
        workload: verb.workload,
        grantee: verb.grantee.clone(),
        kms_profile: verb.kms_profile.clone(),
        thresholds,
        shared_key: verb.shared_key,
        report: verb
            .report
            .as_deref()
            .map(std::path::absolute)
            .transpose()
            .map_err(|error| CliError::usage(format!("--report: {error}")))?,
    };
    let report = drill::revoke(root, &request, &mut |message| {
        if !output.json {
            eprintln!("envol: {message}");
        }
    })?;
    output.print(&report.to_text(), &report)?;
    if report.is_pass() {
        return Ok(());
    }
    let message = format!("the drill failed: {}", report.failures());
    Err(CliError { printed: true, ..CliError::new(ExitStatus::Unexpected, message) })
}

fn subject(root: &Root, verb: &DrillRevoke) -> Result<Subject, CliError> {
    let Store { store, store_profile } = &verb.store;
    if let Some(volume) = &verb.volume {
        confirm(root, volume, verb.confirm.as_ref())?;
        return Ok(Subject::Yours {
            volume: volume.clone(),
            max_snapshot_age: verb.max_snapshot_age.unwrap_or(MAX_SNAPSHOT_AGE),
            store_profile: store_profile.clone(),
        });
    }
    if verb.from_snapshot.is_none() && (store.is_some() || store_profile.is_some()) {
        return Err(CliError::usage("--store and --store-profile say where the snapshot of --from-snapshot lies"));
    }
    if let Some(size) = verb.size {
        Geometry::new(size).map_err(|error| CliError::usage(error.to_string()))?;
    }
    let place =
        |id: &SnapshotId| SnapshotPlace { id: id.clone(), store: store.clone(), store_profile: store_profile.clone() };
    Ok(Subject::ThrowAway { size_bytes: verb.size, snapshot: verb.from_snapshot.as_ref().map(place) })
}

/// A drill ends a volume that somebody needs: it has to be meant.
fn confirm(root: &Root, volume: &VolumeId, confirmed: Option<&VolumeId>) -> Result<(), CliError> {
    root.existing(volume)?;
    let confirmed = match confirmed {
        Some(confirmed) => confirmed == volume,
        None if !io::stdin().is_terminal() => {
            return Err(CliError::usage(format!("a drill on {volume} ends it; say --confirm {volume}")));
        }
        None => is_answered(&format!("This ends volume {volume}. Type its id: "), volume.as_str()),
    };
    if confirmed { Ok(()) } else { Err(CliError::usage(format!("that is not {volume}; nothing was changed"))) }
}

fn undo(root: &Root, output: &Output) -> Result<(), CliError> {
    let UndoneAll { undone, running } = drill::undo_all(root)?;
    let mut text = String::new();
    for drill in &undone {
        text += &format!("{}\n", drill.drill_id);
        drill.done.iter().for_each(|line| text += &format!("  {line}\n"));
        drill.failed.iter().for_each(|line| text += &format!("  NOT undone: {line}\n"));
    }
    if undone.is_empty() {
        text = format!("no drill under {} was interrupted: nothing to undo\n", root.path().display());
    }
    running.iter().for_each(|id| text += &format!("{id} is under way, and is left alone\n"));
    output.print(&text, &json!({ "drills": undone, "running": running }))?;
    let failed: Vec<&str> = undone.iter().flat_map(|drill| &drill.failed).map(String::as_str).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let message =
        format!("not everything is undone: {}. Mend that and run `envol drill undo` again", failed.join("; "));
    Err(CliError { printed: true, ..CliError::new(ExitStatus::Unexpected, message) })
}
