//! One drill from its checks to its report. Whatever happens in between, what was done is undone.

use std::path::PathBuf;

use kms_client::{CallLog, KmsAdmin, KmsKeyArn, KmsKeyId, PrincipalArn};
use serde_json::Value;
use zeroize::Zeroizing;

use super::checks::{check_key, check_request, check_yours};
use super::command::ThisProgram;
use super::directory::DrillDirectory;
use super::error::DrillError;
use super::interrupts::Interrupts;
use super::kms::DrillKms;
use super::moment::Moment;
use super::observer::{Observer, SeenBoth};
use super::record::{Step, UndoRecord};
use super::recovery::{Recovery, Taken};
use super::report::{self, KeyView, Report};
use super::request::{DrillRequest, Subject, WorkloadKind};
use super::revocation::{Revoked, view};
use super::setup::Spot;
use super::undo::{Undo, finish_interrupted};
use super::watch::{Traces, Watched, watch};
use super::workload::{self, Workload};
use super::yours::Yours;
use crate::catalog::Root;
use crate::format::VolumeId;

const LOG_LINES: usize = 40;

/// Blank, when nothing else is said.
const DEFAULT_SIZE: u64 = 1 << 30;

/// What the drill found out, before it is judged.
pub(super) struct Findings {
    pub(super) key: KmsKeyArn,
    pub(super) own_key: bool,
    pub(super) volume_id: VolumeId,
    pub(super) workload: String,
    pub(super) grantee: Option<PrincipalArn>,
    pub(super) mount_point: PathBuf,
    pub(super) asked: Moment,
    pub(super) acknowledged: Moment,
    pub(super) watched: Watched,
    pub(super) seen: SeenBoth,
    pub(super) has_database: bool,
    pub(super) log_tail: Vec<String>,
    pub(super) key_before: KeyView,
    pub(super) key_revoked: KeyView,
    /// Or why there was none.
    pub(super) recovery: Result<Recovery, String>,
}

/// A volume at work, and what is known of it.
pub(super) struct Scene {
    pub(super) key: KmsKeyArn,
    pub(super) own_key: bool,
    pub(super) volume_id: VolumeId,
    /// `--db-id` or `--dbc-id`, and the name.
    pub(super) database: [String; 2],
    pub(super) grantee: Option<PrincipalArn>,
    pub(super) on_revocation: Option<String>,
    pub(super) mount: PathBuf,
    pub(super) snapshot: Taken,
    /// Where the restored volume is tried; a volume of the user's is left to them.
    pub(super) back: Option<Spot>,
}

pub(super) struct Onlookers {
    pub(super) workload: Workload,
    pub(super) observer: Observer,
    pub(super) traces: Traces,
}

/// Takes the key of a volume away and looks on. The report is written also when the verdict is a fail.
pub fn revoke(root: &Root, request: &DrillRequest, say: &mut dyn FnMut(&str)) -> Result<Report, DrillError> {
    check_request(request)?;
    let checking = ThisProgram::new(root, "checks");
    let is_yours = matches!(request.subject, Subject::Yours { .. });
    let kind = if is_yours { WorkloadKind::None } else { workload::choose(request.workload)? };
    finish_interrupted(root, &mut |warning| say(&format!("warning: {warning}")));
    let (mut yours, size_bytes) = look_at(root, &request.subject, &checking)?;
    let log = CallLog::default();
    let asked_key = yours.as_ref().map(Yours::key).or(request.kms_key.as_ref());
    let kms = DrillKms::connect(asked_key.and_then(KmsKeyId::region), &log)?;
    let but = yours.as_ref().map(|yours| &yours.volume);
    let given = asked_key.map(|key| check_key(&kms, root, key, request.shared_key, but)).transpose()?;
    let caller = kms.arn_of(None, &log).map_err(|error| error.to_string());
    let service = kms.arn_of(request.kms_profile.as_deref(), &log).map_err(|error| error.to_string());

    let interrupts = Interrupts::catch(kms.runtime())?;
    if let (Some(yours), Some(key)) = (&mut yours, &given) {
        yours.find_grantee(&kms.wait(kms.client.list_grants(key))?);
        check_yours(request.way, yours)?;
        say("reading the newest snapshot, the only way back");
        yours.verify_snapshot(&checking)?;
        interrupts.check()?;
    }
    let directory = DrillDirectory::make(root)?;
    let record = UndoRecord::new(&directory, caller.as_ref().ok().cloned());
    let report_dir = request.report.clone().unwrap_or_else(|| directory.path().to_owned());
    let mut plan = report::skeleton(&directory, request, kind, size_bytes, caller, service);
    say(&plan.announcement(given.as_ref()));
    report::write_plan(&report_dir, &plan)?;

    let mut drill = Drill {
        root,
        request,
        kind,
        size_bytes,
        program: ThisProgram::new(root, directory.id()),
        directory: &directory,
        record,
        kms: &kms,
        material: None,
        interrupts: &interrupts,
        say,
    };
    let findings = drill.rehearse(given, yours);
    (drill.say)("undoing what the drill did");
    let mut record = drill.record;
    let key = findings.as_ref().ok().map(|findings| findings.key.clone());
    let mut undo = Undo { root, directory: &directory, kms: Some(kms), log: log.clone(), kms_is_away: None };
    let undone = undo.run(&mut record, &interrupts);
    let findings = match findings {
        Ok(findings) => findings,
        Err(cause) if undone.failed.is_empty() => return Err(cause),
        Err(cause) => {
            return Err(DrillError::NotUndone { cause: Box::new(cause), left: undone.failed.join("; ") });
        }
    };
    let key_undone = key.zip(undo.kms).and_then(|(key, kms)| view(&kms, &key).ok());
    plan.finish(findings, key_undone, undone, log.records());
    report::write(&report_dir, &mut plan)?;
    Ok(plan)
}

/// The user's volume, and the size of the one that the drill works on.
fn look_at(root: &Root, subject: &Subject, program: &ThisProgram) -> Result<(Option<Yours>, u64), DrillError> {
    match subject {
        Subject::Yours { volume, max_snapshot_age, store_profile } => {
            let yours = Yours::find(root, volume, *max_snapshot_age, store_profile.as_deref(), program)?;
            let size_bytes = yours.size_bytes;
            Ok((Some(yours), size_bytes))
        }
        Subject::ThrowAway { size_bytes, snapshot: None } => Ok((None, size_bytes.unwrap_or(DEFAULT_SIZE))),
        Subject::ThrowAway { size_bytes, snapshot: Some(snapshot) } => {
            let id = &snapshot.id;
            let shown = program.must(&[vec!["snapshot", "show", id.as_str()], snapshot.store_arguments()].concat())?;
            let least = shown["size_bytes"].as_u64().unwrap_or_default();
            match size_bytes {
                Some(size) if *size < least => Err(DrillError::Refused(format!(
                    "snapshot {id} is of {least} bytes; a volume of it cannot be smaller than that"
                ))),
                size => Ok((None, size.unwrap_or(least))),
            }
        }
    }
}

pub(super) struct Drill<'a> {
    pub(super) root: &'a Root,
    pub(super) request: &'a DrillRequest,
    pub(super) kind: WorkloadKind,
    pub(super) size_bytes: u64,
    pub(super) program: ThisProgram,
    pub(super) directory: &'a DrillDirectory,
    pub(super) record: UndoRecord,
    pub(super) kms: &'a DrillKms,
    /// Of a key of the drill's own, to be imported once more.
    pub(super) material: Option<Zeroizing<[u8; 32]>>,
    pub(super) interrupts: &'a Interrupts,
    pub(super) say: &'a mut dyn FnMut(&str),
}

impl Drill<'_> {
    fn rehearse(&mut self, given: Option<KmsKeyArn>, yours: Option<Yours>) -> Result<Findings, DrillError> {
        let (scene, onlookers) = match (yours, given) {
            (Some(yours), Some(key)) => self.on_yours(yours, key)?,
            (_, given) => self.on_a_throw_away(given)?,
        };
        let Onlookers { workload, observer, traces } = onlookers;
        let key_before = view(self.kms, &scene.key)?;
        self.interrupts.check()?;
        (self.say)(&format!("revoking: {}", self.request.way.operation()));
        let revoked = self.take_away(&scene, &key_before)?;
        let events = self.root.volume(&scene.volume_id).dir().join("events.jsonl");
        let patience = self.request.thresholds.patience();
        let watched = watch(&traces, &events, &self.program, &observer, patience, self.interrupts)?;
        let key_revoked = view(self.kms, &scene.key)?;
        let log_tail = workload.log_tail(LOG_LINES);
        let seen = observer.stop();
        let (has_database, name) = (workload.server.is_some(), workload.name.clone());
        workload.reap();
        let recovery = match self.recover(&scene, &key_before, &revoked, &seen) {
            Err(DrillError::Interrupted) => return Err(DrillError::Interrupted),
            recovery => recovery.map_err(|error| error.to_string()),
        };
        let Revoked { asked, acknowledged, .. } = revoked;
        Ok(Findings {
            key: scene.key,
            own_key: scene.own_key,
            volume_id: scene.volume_id,
            workload: name,
            grantee: scene.grantee,
            mount_point: scene.mount,
            asked,
            acknowledged,
            watched,
            seen,
            has_database,
            log_tail,
            key_before,
            key_revoked,
            recovery,
        })
    }

    pub(super) fn add(&mut self, step: Step) -> Result<(), DrillError> {
        self.interrupts.check()?;
        self.record.add(step, self.directory)
    }
}

/// A field that may be missing: events of another version.
pub(super) fn text_of(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}
