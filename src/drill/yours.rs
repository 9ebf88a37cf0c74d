//! A drill on a volume that is in use: only with a snapshot to go back to, which is read before anything is changed.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use kms_client::{KmsKeyArn, KmsKeyId, ListedGrant, PrincipalArn};

use super::command::ThisProgram;
use super::error::DrillError;
use super::record::Step;
use super::recovery::Taken;
use super::request::SnapshotPlace;
use super::request::WorkloadKind;
use super::run::{Drill, Onlookers, Scene};
use super::workload::{self, Place};
use crate::catalog::{self, LastSnapshot, Root};
use crate::format::{DatabaseId, VolumeId};

/// Exit code of a command that did not find what it was told to look at.
const NO_SUCH_THING: u8 = 3;

pub(super) struct Yours {
    pub(super) volume: VolumeId,
    key: KmsKeyId,
    pub(super) size_bytes: u64,
    database: [String; 2],
    on_revocation: Option<String>,
    mount: PathBuf,
    snapshot: LastSnapshot,
    store_profile: Option<String>,
    pub(super) grantee: Option<PrincipalArn>,
}

impl Yours {
    /// Refuses without having changed anything.
    pub(super) fn find(
        root: &Root,
        volume: &VolumeId,
        max_age: Duration,
        store_profile: Option<&str>,
        program: &ThisProgram,
    ) -> Result<Self, DrillError> {
        let paths = root.existing(volume)?;
        let status = program.must(&["status", volume.as_str()])?;
        let Some(mount) = status["mount_point"].as_str().map(PathBuf::from) else {
            let state = status["state"].as_str().unwrap_or("unknown");
            let attach = program.typed(&["attach", volume.as_str(), "DIR"]);
            return Err(DrillError::Refused(format!(
                "volume {volume} is {state} and not mounted; a drill takes the key of one that is in use: {attach}"
            )));
        };
        let unreadable =
            |what: String| DrillError::Failed(format!("the header of volume {volume} cannot be read: {what}"));
        let peek = catalog::peek(&paths.backing()).map_err(|error| unreadable(error.to_string()))?;
        let headers = peek.headers.map_err(|error| unreadable(error.to_string()))?;
        let database = headers.newest().database_id();
        let option = if matches!(database, DatabaseId::Cluster(_)) { "--dbc-id" } else { "--db-id" };
        let create = program.typed(&["snapshot", "create", volume.as_str()]);
        let Some(snapshot) = LastSnapshot::read(&paths)? else {
            return Err(DrillError::Refused(format!(
                "volume {volume} has no snapshot: its revocation would be final. Take one: {create}"
            )));
        };
        let age = Timestamp::now().duration_since(snapshot.created_at);
        if age.unsigned_abs() > max_age {
            return Err(DrillError::Refused(format!(
                "the newest snapshot of volume {volume}, {}, is of {}, {} s ago; what was written since would be lost, and \
                 --max-snapshot-age is {:?}. Take another one: {create}",
                snapshot.snapshot_id,
                snapshot.created_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                age.as_secs(),
                max_age,
            )));
        }
        Ok(Self {
            volume: volume.clone(),
            key: KmsKeyId::from(headers.newest().kms_key()),
            size_bytes: status["size_bytes"].as_u64().unwrap_or_default(),
            database: [option.to_owned(), database.name().to_string()],
            on_revocation: status["on_revocation"].as_str().map(str::to_owned),
            mount,
            snapshot,
            store_profile: store_profile.map(str::to_owned),
            grantee: None,
        })
    }

    pub(super) fn key(&self) -> &KmsKeyId {
        &self.key
    }

    /// Every chunk of the snapshot: it is the only way back.
    pub(super) fn verify_snapshot(&self, program: &ThisProgram) -> Result<(), DrillError> {
        let place = self.place();
        let id = &place.id;
        let verify = [vec!["snapshot", "verify", id.as_str()], place.store_arguments()].concat();
        match program.must(&verify) {
            Err(DrillError::Command { code: NO_SUCH_THING, message }) => {
                let create = program.typed(&["snapshot", "create", self.volume.as_str()]);
                Err(DrillError::Refused(format!(
                    "the newest snapshot of volume {}, {id}, is not where it was put: {message}. Take another one: {create}",
                    self.volume
                )))
            }
            verified => verified.map(drop),
        }
    }

    /// Whom the volume's own grant is for.
    pub(super) fn find_grantee(&mut self, grants: &[ListedGrant]) {
        let ours = grants.iter().find(|grant| grant.name.as_deref() == Some(self.volume.as_str()));
        self.grantee = ours.and_then(|grant| grant.grantee_principal.as_deref()?.parse().ok());
    }

    fn place(&self) -> SnapshotPlace {
        SnapshotPlace {
            id: self.snapshot.snapshot_id.clone(),
            store: Some(self.snapshot.store.clone()),
            store_profile: self.store_profile.clone(),
        }
    }
}

impl Drill<'_> {
    /// What works on it goes on as it is; the observer has a directory of its own.
    pub(super) fn on_yours(&mut self, yours: Yours, key: KmsKeyArn) -> Result<(Scene, Onlookers), DrillError> {
        let dir = yours.mount.join(format!("envol-{}", self.directory.id()));
        self.add(Step::Probes { volume: yours.volume.clone(), path: dir.clone() })?;
        workload::make_dir(WorkloadKind::None, &dir)?;
        let place = Place { dir: &dir, outside: &dir, drill_id: self.directory.id() };
        let mut workload = workload::start(WorkloadKind::None, &place, &mut |_, _| Ok(()))?;
        workload.name = "what works on the volume; it was left as it is".to_owned();
        let observer = self.observe(&dir, &workload)?;
        let traces = self.traces(&yours.volume, &yours.mount, None)?;
        let snapshot = Taken { place: yours.place(), created_at: yours.snapshot.created_at, took: None, typed: None };
        let scene = Scene {
            key,
            own_key: false,
            volume_id: yours.volume,
            database: yours.database,
            grantee: yours.grantee,
            on_revocation: yours.on_revocation,
            mount: yours.mount,
            snapshot,
            back: None,
        };
        Ok((scene, Onlookers { workload, observer, traces }))
    }
}
