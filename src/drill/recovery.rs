//! The way back: a snapshot before the revocation, and a volume made of it once the key is allowed again.

use jiff::Timestamp;
use kms_client::KmsAdmin;
use serde::Serialize;

use super::allow;
use super::error::DrillError;
use super::moment::{Moment, monotonic_us};
use super::new_volume::NewVolume;
use super::observer::{self, Observer, SeenBoth};
use super::record::Step;
use super::report::KeyView;
use super::request::SnapshotPlace;
use super::revocation::Revoked;
use super::run::{Drill, Scene};
use super::setup::{Spot, observed};
use super::typed;
use super::way::Way;
use super::workload::{self, Place};
use crate::format::{SnapshotId, VolumeId};

/// A snapshot to go back to.
pub(super) struct Taken {
    pub(super) place: SnapshotPlace,
    /// The moment that it shows.
    pub(super) created_at: Timestamp,
    /// For one that the drill took: how long that was, and when it began.
    pub(super) took: Option<(f64, i64)>,
    pub(super) typed: Option<String>,
}

/// The names are those of report.json. Milliseconds count from `allowed_again_at` unless it says otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Recovery {
    pub(super) snapshot_id: SnapshotId,
    pub(super) snapshot_created_at: Timestamp,
    /// How long it took; null for one that was there before.
    pub(super) snapshot_ms: Option<f64>,
    /// From the moment that the snapshot shows until the key was taken away.
    pub(super) loss_window_ms: f64,
    pub(super) allowed_again_at: Timestamp,
    pub(super) volume_id: VolumeId,
    pub(super) restored_ms: f64,
    /// Null where the drill starts no database.
    pub(super) database_up_ms: Option<f64>,
    /// Acknowledged before the revocation, and not in the snapshot; null where nobody knows.
    pub(super) lost_commits: Option<u64>,
    pub(super) commands: Vec<String>,
    /// What is left to do by whoever has the volume.
    pub(super) next: Vec<String>,
}

impl Drill<'_> {
    /// While the workload runs; commits go on after it.
    pub(super) fn take_snapshot(&mut self, volume: &VolumeId, observer: &Observer) -> Result<Taken, DrillError> {
        (self.say)("taking a snapshot");
        self.interrupts.check()?;
        let store = self.store().display().to_string();
        let create = ["snapshot", "create", volume.as_str(), "--store", &store];
        let began = Moment::now();
        let shown = self.program.must(&create)?;
        let took_ms = began.ms_until(monotonic_us());
        let field = |name: &str| shown[name].as_str().unwrap_or_default();
        let unknown = |what: &str| DrillError::Failed(format!("`envol snapshot create` printed no {what}: {shown}"));
        let id = field("snapshot_id").parse().map_err(|_| unknown("snapshot_id"))?;
        let created_at = field("created_at").parse().map_err(|_| unknown("created_at"))?;
        self.wait_for_successes(observer)?;
        let typed = Some(self.program.typed(&create));
        let place = SnapshotPlace { id, store: Some(store), store_profile: None };
        Ok(Taken { place, created_at, took: Some((took_ms, began.monotonic_us)), typed })
    }

    pub(super) fn recover(
        &mut self,
        scene: &Scene,
        before: &KeyView,
        revoked: &Revoked,
        seen: &SeenBoth,
    ) -> Result<Recovery, DrillError> {
        (self.say)("allowing the key again");
        self.allow_again(scene)?;
        let allowed = Moment::now();
        (self.say)(&format!("restoring snapshot {}", scene.snapshot.place.id));
        let mut commands: Vec<String> = scene.snapshot.typed.clone().into_iter().collect();
        commands.push(revoked.typed.clone());
        commands.push(self.program.typed(&["status", scene.volume_id.as_str()]));
        commands.extend(typed::allowing(self.request.way, &scene.key, &before.policy));

        let volume_id = VolumeId::random().map_err(|error| DrillError::Failed(error.to_string()))?;
        let [option, name] = &scene.database;
        let new = NewVolume {
            id: &volume_id,
            key: &scene.key,
            database: [option, name],
            size_bytes: None,
            snapshot: Some(&scene.snapshot.place),
            grantee: scene.grantee.as_ref(),
            on_revocation: scene.on_revocation.as_deref(),
        };
        let patience = self.request.thresholds.patience();
        commands.push(self.make_volume(&new, patience)?);
        let restored_ms = allowed.ms_until(monotonic_us());
        let mut recovery = Recovery {
            snapshot_id: scene.snapshot.place.id.clone(),
            snapshot_created_at: scene.snapshot.created_at,
            snapshot_ms: scene.snapshot.took.map(|(took_ms, _)| took_ms),
            loss_window_ms: -revoked.acknowledged.ms_until_wall(scene.snapshot.created_at),
            allowed_again_at: allowed.wall,
            volume_id,
            restored_ms,
            database_up_ms: None,
            lost_commits: None,
            commands,
            next: Vec::new(),
        };
        match &scene.back {
            Some(spot) => self.start_again(&mut recovery, scene, spot, &allowed, revoked, seen)?,
            None => self.leave(&mut recovery, scene)?,
        }
        Ok(recovery)
    }

    /// As the undo does it; what is done leaves the record.
    fn allow_again(&mut self, scene: &Scene) -> Result<(), DrillError> {
        for step in self.record.steps.clone() {
            match &step {
                Step::KeyState { key, way } => allow::enable(self.kms, key, *way)?,
                Step::Policy { key, sid, original, edited } => {
                    allow::restore_policy(self.kms, key, sid, original, edited)?
                }
                _ => continue,
            };
            self.record.steps.retain(|other| *other != step);
            self.record.write(self.directory)?;
        }
        if self.request.way == Way::DeleteKeyMaterial {
            let material = self.material.take().ok_or_else(|| DrillError::Failed("no key material".to_owned()))?;
            self.kms.wait(self.kms.client.import_key_material(&scene.key, &material))?;
        }
        self.wait_until_enabled(&scene.key)
    }

    fn start_again(
        &mut self,
        recovery: &mut Recovery,
        scene: &Scene,
        spot: &Spot,
        allowed: &Moment,
        revoked: &Revoked,
        seen: &SeenBoth,
    ) -> Result<(), DrillError> {
        recovery.commands.push(self.attach(&recovery.volume_id, &spot.mount)?);
        let dir = spot.mount.join(self.directory.id());
        observer::check_read(&observed(&dir))?;
        self.interrupts.check()?;
        (self.say)("starting the workload on the restored volume");
        let place = Place { dir: &dir, outside: &spot.outside, drill_id: self.directory.id() };
        let (record, directory) = (&mut self.record, self.directory);
        let mut announce =
            |what: &str, process| record.add(Step::Process { what: what.to_owned(), process }, directory);
        let resumed = workload::resume(self.kind, &place, &mut announce)?;
        recovery.database_up_ms = Some(allowed.ms_until(monotonic_us()));
        recovery.commands.extend(resumed.workload.typed.clone());
        resumed.workload.reap();

        let found = resumed.commits;
        let acknowledged = seen.commits_by(revoked.asked.monotonic_us);
        let before = scene.snapshot.took.map_or(0, |(_, began_us)| seen.commits_by(began_us));
        if found < before {
            return Err(DrillError::Failed(format!(
                "snapshot {} has {found} commits, and {before} had been acknowledged when it was begun",
                recovery.snapshot_id
            )));
        }
        recovery.lost_commits = Some(acknowledged.saturating_sub(found));
        Ok(())
    }

    /// To whoever had the volume that was taken away: the new one is theirs, and no step of the undo.
    fn leave(&mut self, recovery: &mut Recovery, scene: &Scene) -> Result<(), DrillError> {
        let id = &recovery.volume_id;
        self.record.steps.retain(|step| match step {
            Step::Volume { id: made } => made != id,
            Step::Grants { name, .. } => name != id.as_str(),
            _ => true,
        });
        self.record.write(self.directory)?;
        let mount = scene.mount.display().to_string();
        let mut attach = vec!["attach", id.as_str(), &mount];
        if let Some(profile) = &self.request.kms_profile {
            attach.extend(["--kms-profile", profile]);
        }
        let attach = self.program.typed(&attach);
        recovery
            .next
            .push(format!("volume {id} has what snapshot {} shows; attach it: {attach}", recovery.snapshot_id));
        recovery.commands.push(attach);
        let status = self.program.run(&["status", scene.volume_id.as_str()])?.object;
        let (state, next) = (status["state"].as_str().unwrap_or("unknown"), status["next"].as_str());
        let old = format!("volume {} is {state}", scene.volume_id);
        recovery.next.push(match (state, next) {
            ("recoverable", Some(next)) => format!("{old}, and has what was written until the revocation: {next}"),
            _ => format!(
                "{old}; once nothing of it is needed: {}",
                self.program.typed(&["delete", scene.volume_id.as_str()])
            ),
        });
        Ok(())
    }
}
