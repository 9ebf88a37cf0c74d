//! Takes back what a drill did, last things first. What cannot be taken back stays in the record, to be tried again.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kms_client::{Answer, CallLog, KmsAdmin, KmsError, KmsKeyArn};
use serde::Serialize;

use super::allow;
use super::command::ThisProgram;
use super::directory::{self, DrillDirectory};
use super::error::DrillError;
use super::interrupts::Interrupts;
use super::kms::DrillKms;
use super::process;
use super::record::{Step, UndoRecord};
use crate::catalog::{self, Root};
use crate::format::VolumeId;
use crate::host::mounts::Mounts;
use crate::host::{ProcessName, ending};

/// How long a volume that is on its way down may be busy.
const BUSY_PATIENCE: Duration = Duration::from_secs(60);

/// A child that a killed drill was about to start has its lock until it runs.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

const PROCESS_PATIENCE: Duration = Duration::from_secs(10);

/// The least that KMS takes; until then the key can be got back.
const DELETION_DAYS: u8 = 7;

/// What was undone of one drill, and what was not.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Undone {
    pub drill_id: String,
    pub done: Vec<String>,
    pub failed: Vec<String>,
}

/// What became of all drills that have an undo record.
#[derive(Debug, Default)]
pub struct UndoneAll {
    pub undone: Vec<Undone>,
    /// Under way: their ids.
    pub running: Vec<String>,
}

/// Undoes every drill under `root` that did not come to its own end. One that runs is left alone.
pub fn undo_all(root: &Root) -> Result<UndoneAll, DrillError> {
    undo_within(root, LOCK_PATIENCE)
}

fn undo_within(root: &Root, patience: Duration) -> Result<UndoneAll, DrillError> {
    let ids = directory::with_record(root).map_err(DrillError::io("read", &directory::drills(root)))?;
    let mut undone = Vec::new();
    let mut running = Vec::new();
    for id in ids {
        let until = Instant::now() + patience;
        let locked = loop {
            match DrillDirectory::lock(root, &id) {
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                locked => break locked,
            }
        };
        let directory = match locked {
            Ok(Some(directory)) => directory,
            Ok(None) => {
                running.push(id);
                continue;
            }
            // Undone by another command just now.
            Err(_) => continue,
        };
        let Some(mut record) = UndoRecord::read(&directory)? else { continue };
        let mut undo = Undo { root, directory: &directory, kms: None, log: CallLog::default(), kms_is_away: None };
        undone.push(undo.run(&mut record, &Interrupts::default()));
    }
    Ok(UndoneAll { undone, running })
}

/// The same, before another command does its own work: it must not fail because of that. Not by a command that a drill
/// started: if that drill is killed, it would undo what it is a part of, and then do its own part.
pub fn finish_interrupted(root: &Root, warn: &mut dyn FnMut(&str)) {
    if std::env::var_os(process::MARK).is_some() {
        return;
    }
    match undo_within(root, Duration::ZERO) {
        Ok(all) => {
            for Undone { drill_id, done, failed } in all.undone {
                let steps = done.len();
                match failed.as_slice() {
                    [] => warn(&format!("{drill_id} was interrupted; what it did is undone ({steps} steps)")),
                    failed => warn(&format!(
                        "{drill_id} was interrupted, and not everything is as before: {}. `envol drill undo` tries again",
                        failed.join("; ")
                    )),
                }
            }
        }
        Err(error) => warn(&format!("a drill was interrupted and cannot be undone: {error}")),
    }
}

pub(super) struct Undo<'a> {
    pub(super) root: &'a Root,
    pub(super) directory: &'a DrillDirectory,
    pub(super) kms: Option<DrillKms>,
    pub(super) log: CallLog,
    /// Why it did not answer, once; then it is not waited for again.
    pub(super) kms_is_away: Option<String>,
}

impl Undo<'_> {
    pub(super) fn run(&mut self, record: &mut UndoRecord, interrupts: &Interrupts) -> Undone {
        let mut undone = Undone { drill_id: record.drill_id.clone(), ..Undone::default() };
        undone.failed = process::end_all(&record.drill_id);
        let steps = std::mem::take(&mut record.steps);
        let mut kept = Vec::new();
        for (index, step) in steps.iter().enumerate().rev() {
            if interrupts.stops_undo() {
                undone.failed.push(format!("{} not tried", name_of(step)));
                kept.push(step.clone());
                continue;
            }
            match self.step(step, &record.drill_id) {
                Ok(done) => undone.done.push(done),
                Err(error) => {
                    undone.failed.push(format!("{}: {error}", name_of(step)));
                    kept.push(step.clone());
                }
            }
            record.steps = steps[..index].iter().cloned().chain(kept.iter().rev().cloned()).collect();
            if let Err(error) = record.write(self.directory) {
                undone.failed.push(error.to_string());
            }
        }
        if undone.failed.is_empty() {
            self.directory.remove_if_empty();
        }
        undone
    }

    fn step(&mut self, step: &Step, drill_id: &str) -> Result<String, DrillError> {
        match step {
            Step::Directory { path } => remove_directory(path),
            Step::Probes { volume, path } => self.remove_probes(volume, path),
            Step::Process { what, process } => end_process(what, *process),
            Step::Volume { id } => self.remove_volume(id, drill_id),
            Step::Key { arn, description } => self.delete_key(arn.as_ref(), description),
            Step::Grants { key, name } => self.revoke_grants(key, name),
            Step::KeyState { key, way } => self.ask(Some(key), |kms| allow::enable(kms, key, *way)),
            Step::Policy { key, sid, original, edited } => {
                self.ask(Some(key), |kms| allow::restore_policy(kms, key, sid, original, edited))
            }
        }
    }

    fn remove_volume(&self, id: &VolumeId, drill_id: &str) -> Result<String, DrillError> {
        let program = ThisProgram::new(self.root, drill_id);
        let until = Instant::now() + BUSY_PATIENCE;
        loop {
            // It may be attached, terminal, gone, or on its way: deleting says whether it worked.
            program.run(&["detach", id.as_str(), "--force"])?;
            let deleted = program.run(&["delete", id.as_str(), "--yes"])?;
            match deleted.code {
                // There is no such volume.
                0 | 3 => break,
                _ if Instant::now() < until => std::thread::sleep(Duration::from_millis(500)),
                code => return Err(DrillError::Command { code, message: deleted.message() }),
            }
        }
        for half_made in ["creating", "restoring"] {
            let staging = self.root.volumes().join(format!(".{half_made}-{id}"));
            if staging.exists() {
                fs::remove_dir_all(&staging).map_err(DrillError::io("remove", &staging))?;
            }
        }
        Ok(format!("volume {id} detached and deleted"))
    }

    /// From a volume of the user's. One whose key was revoked is not looked into: it may be mounted and dead, and what
    /// lies on it goes with it.
    fn remove_probes(&self, volume: &VolumeId, path: &Path) -> Result<String, DrillError> {
        let is_mounted = Mounts::read()?.iter().any(|mount| Some(mount.mount_point.as_path()) == path.parent());
        let lost = matches!(catalog::summarize(&self.root.volume(volume)).state.as_str(), "terminal" | "recoverable");
        if lost || !is_mounted {
            return Ok(format!("directory {} went with volume {volume}", path.display()));
        }
        remove_directory(path)
    }

    fn delete_key(&mut self, arn: Option<&KmsKeyArn>, description: &str) -> Result<String, DrillError> {
        let keys = match arn {
            Some(arn) => vec![arn.clone()],
            None => self.ask(None, |kms| Ok(kms.wait(kms.client.keys_described(description))?))?,
        };
        for key in &keys {
            let scheduled = self.ask(Some(key), |kms| {
                // One that is to be deleted already is refused.
                match kms.wait(kms.client.schedule_key_deletion(key, DELETION_DAYS)) {
                    Err(error) if matches!(error.answer, Answer::InvalidState | Answer::NotFound) => Ok(()),
                    result => Ok(result?),
                }
            });
            scheduled?;
        }
        match keys.first() {
            None => Ok("the drill's own key had not been made".to_owned()),
            Some(key) => Ok(format!("key {key} of the drill's own: deletion scheduled in {DELETION_DAYS} days")),
        }
    }

    fn revoke_grants(&mut self, key: &KmsKeyArn, name: &str) -> Result<String, DrillError> {
        let revoked = self.ask(Some(key), |kms| {
            let grants = match kms.wait(kms.client.list_grants(key)) {
                Err(error) if is_past(&error) => return Ok(0),
                grants => grants?,
            };
            let ours: Vec<_> = grants.iter().filter(|grant| grant.name.as_deref() == Some(name)).collect();
            for grant in &ours {
                match kms.wait(kms.client.revoke_grant(key, &grant.id)) {
                    Err(error) if !error.is_no_such_grant() => return Err(error.into()),
                    _ => {}
                }
            }
            Ok(ours.len())
        })?;
        Ok(format!("grants of {name}: {revoked} were left and are revoked"))
    }

    /// Over one login; a KMS that was away once is not waited for again.
    fn ask<T>(
        &mut self,
        key: Option<&KmsKeyArn>,
        calls: impl FnOnce(&DrillKms) -> Result<T, DrillError>,
    ) -> Result<T, DrillError> {
        if let Some(why) = &self.kms_is_away {
            return Err(DrillError::Failed(format!("not tried, as {why}")));
        }
        if self.kms.is_none() {
            let connected = DrillKms::connect(key.map(KmsKeyArn::region), &self.log);
            self.kms = Some(connected.inspect_err(|error| self.kms_is_away = Some(error.to_string()))?);
        }
        let Some(kms) = &self.kms else { return Err(DrillError::Failed("no KMS".to_owned())) };
        calls(kms).inspect_err(|error| {
            if matches!(error, DrillError::Kms(error) if error.answer == Answer::Unreachable) {
                self.kms_is_away = Some(error.to_string());
            }
        })
    }
}

/// The key is gone, or as good as.
fn is_past(error: &KmsError) -> bool {
    error.answer == Answer::NotFound
}

fn end_process(what: &str, process: ProcessName) -> Result<String, DrillError> {
    if !ending::kill(process, PROCESS_PATIENCE) {
        return Err(DrillError::Failed(format!("{what} (pid {}) waits inside the kernel", process.pid)));
    }
    Ok(format!("{what} (pid {}) ended", process.pid))
}

/// Only where nothing is mounted any more: what lies on a mount is not ours to remove.
fn remove_directory(path: &Path) -> Result<String, DrillError> {
    if let Some(mount) = Mounts::read()?.iter().find(|mount| mount.mount_point.starts_with(path)) {
        let at = mount.mount_point.display();
        return Err(DrillError::Failed(format!("something is still mounted on {at}")));
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DrillError::io("remove", path)(error)),
        _ => Ok(format!("directory {} removed", path.display())),
    }
}

fn name_of(step: &Step) -> String {
    match step {
        Step::Directory { path } | Step::Probes { path, .. } => format!("directory {}", path.display()),
        Step::Key { arn: Some(arn), .. } => format!("key {arn} of the drill's own"),
        Step::Key { arn: None, description } => format!("the key described as `{description}`"),
        Step::Grants { key, name } => format!("grants of {name} on {key}"),
        Step::Volume { id } => format!("volume {id}"),
        Step::Process { what, process } => format!("{what} (pid {})", process.pid),
        Step::KeyState { key, .. } => format!("state of {key}"),
        Step::Policy { key, .. } => format!("policy of {key}"),
    }
}
