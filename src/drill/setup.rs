//! The volume that a drill makes for itself: its key, its place, its workload.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use kms_client::{KeyOrigin, KeyState, Kms, KmsAdmin, KmsKeyArn, KmsKeyId};
use zeroize::Zeroizing;

use super::directory;
use super::error::DrillError;
use super::new_volume::NewVolume;
use super::observer::{Observer, Order};
use super::process::as_user;
use super::record::Step;
use super::request::Subject;
use super::run::{Drill, Onlookers, Scene};
use super::watch::{Shown, Traces};
use super::way::Way;
use super::workload::{self, Place, Workload};
use crate::format::VolumeId;
use crate::host::ProcessName;
use crate::host::fuse_connection::FuseConnection;

/// Before the key is taken away the volume must have been seen to work.
const CONTROL_PATIENCE: Duration = Duration::from_secs(60);
const NEW_KEY_PATIENCE: Duration = Duration::from_secs(60);
const CONTROL_SUCCESSES: u64 = 5;

/// More than any path of a Unix socket may have, less what a database appends.
const MAX_SOCKET_DIRECTORY: usize = 85;

pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Where a volume is mounted, and a directory beside that for sockets and logs.
pub(super) struct Spot {
    pub(super) mount: PathBuf,
    pub(super) outside: PathBuf,
}

impl Drill<'_> {
    pub(super) fn on_a_throw_away(&mut self, given: Option<KmsKeyArn>) -> Result<(Scene, Onlookers), DrillError> {
        let own_key = given.is_none();
        let key = match given {
            Some(key) => key,
            None => self.make_key()?,
        };
        let volume_id = VolumeId::random().map_err(|error| DrillError::Failed(error.to_string()))?;
        let Subject::ThrowAway { snapshot, .. } = &self.request.subject else {
            return Err(DrillError::Failed("not a volume of the drill's own".to_owned()));
        };
        (self.say)(&format!("making volume {volume_id}"));
        let name = self.directory.id();
        let grantee = self.request.grantee.as_ref();
        self.make_volume(
            &NewVolume {
                id: &volume_id,
                key: &key,
                database: ["--db-id", name],
                size_bytes: Some(self.size_bytes),
                snapshot: snapshot.as_ref(),
                grantee,
                on_revocation: None,
            },
            Duration::ZERO,
        )?;
        let (spot, back) = self.make_places()?;
        self.attach(&volume_id, &spot.mount)?;

        (self.say)("starting the workload");
        self.interrupts.check()?;
        let dir = spot.mount.join(self.directory.id());
        workload::make_dir(self.kind, &dir)?;
        let place = Place { dir: &dir, outside: &spot.outside, drill_id: self.directory.id() };
        let (record, directory) = (&mut self.record, self.directory);
        let mut announce =
            |what: &str, process| record.add(Step::Process { what: what.to_owned(), process }, directory);
        let workload = workload::start(self.kind, &place, &mut announce)?;
        let observer = self.observe(&dir, &workload)?;
        let snapshot = self.take_snapshot(&volume_id, &observer)?;
        let traces = self.traces(&volume_id, &spot.mount, workload.server)?;
        let scene = Scene {
            key,
            own_key,
            volume_id,
            database: ["--db-id".to_owned(), name.to_owned()],
            grantee: grantee.cloned(),
            on_revocation: None,
            mount: spot.mount,
            snapshot,
            back: Some(back),
        };
        Ok((scene, Onlookers { workload, observer, traces }))
    }

    /// An observer of a directory, once it has seen that the volume works.
    pub(super) fn observe(&mut self, dir: &Path, workload: &Workload) -> Result<Observer, DrillError> {
        let order = Order { read: observed(dir), commit: workload.commit.clone() };
        let observer = Observer::start(&order, self.directory.id())?;
        if let Some(process) = observer.process() {
            self.record.add(Step::Process { what: "the observer".to_owned(), process }, self.directory)?;
        }
        self.wait_for_successes(&observer)?;
        Ok(observer)
    }

    fn make_key(&mut self) -> Result<KmsKeyArn, DrillError> {
        (self.say)("making a KMS key for the drill");
        let description = format!("envol {}: throw-away key of a drill", self.directory.id());
        self.add(Step::Key { arn: None, description: description.clone() })?;
        let external = self.request.way == Way::DeleteKeyMaterial;
        let origin = if external { KeyOrigin::External } else { KeyOrigin::Kms };
        let key = self.kms.wait(self.kms.client.create_key(origin, &description))?;
        self.record.steps.pop();
        self.record.add(Step::Key { arn: Some(key.clone()), description }, self.directory)?;
        if external {
            let mut material = Zeroizing::new([0_u8; 32]);
            getrandom::fill(material.as_mut()).map_err(|error| DrillError::Failed(error.to_string()))?;
            self.kms.wait(self.kms.client.import_key_material(&key, &material))?;
            self.material = Some(material);
        }
        self.wait_until_enabled(&key)?;
        Ok(key)
    }

    /// A new key, and one that is allowed again, takes its time to be known everywhere.
    pub(super) fn wait_until_enabled(&self, key: &KmsKeyArn) -> Result<(), DrillError> {
        let until = Instant::now() + NEW_KEY_PATIENCE;
        loop {
            self.interrupts.check()?;
            let described = self.kms.wait(self.kms.client.describe_key(&KmsKeyId::from(key)));
            match described {
                Ok(described) if described.state == KeyState::Enabled => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error.into()),
                Ok(described) if Instant::now() > until => {
                    return Err(DrillError::Failed(format!("key {key} stays {}", described.state)));
                }
                _ => thread::sleep(RETRY_INTERVAL),
            }
        }
    }

    /// Where the volume is mounted, and where the one that is restored; both where the database's user can reach them.
    fn make_places(&mut self) -> Result<(Spot, Spot), DrillError> {
        let own = self.directory.path();
        let user = workload::owner(self.kind);
        self.add(Step::Directory { path: self.store() })?;
        let base = match user {
            Some(user) if !is_reachable(own, user, self.directory.id()) => {
                let base = Path::new("/run/envol-drill").join(self.directory.id());
                self.add(Step::Directory { path: base.clone() })?;
                base
            }
            _ => own.to_owned(),
        };
        let spots =
            [("mnt", "work"), ("restored", "back")].map(|(mount, outside)| (base.join(mount), base.join(outside)));
        for path in spots.iter().flat_map(|(mount, outside)| [mount, outside]) {
            self.add(Step::Directory { path: path.clone() })?;
            directory::make_passable(path)?;
        }
        // Undone from the end: a volume goes before the directory that it is mounted on.
        self.record.steps.sort_by_key(|step| !matches!(step, Step::Directory { .. }));
        self.record.write(self.directory)?;
        let [first, second] = spots.map(|(mount, outside)| -> Result<Spot, DrillError> {
            let mount = mount.canonicalize().map_err(DrillError::io("find", &mount))?;
            Ok(Spot { mount, outside })
        });
        Ok((first?, second?))
    }

    /// For the drill's snapshot: on disk, where there is room for it.
    pub(super) fn store(&self) -> PathBuf {
        self.directory.path().join("snapshots")
    }

    /// Returns the command.
    pub(super) fn attach(&mut self, id: &VolumeId, mount: &Path) -> Result<String, DrillError> {
        self.interrupts.check()?;
        let thresholds = &self.request.thresholds;
        let interval = format!("{}ms", thresholds.probe_interval_ms);
        let confirm = format!("{}ms", thresholds.confirm_denial_ms);
        let dir = mount.display().to_string();
        let mut attach = vec!["attach", id.as_str(), &dir];
        if let Some(user) = workload::owner(self.kind) {
            attach.extend(["--owner", user]);
        }
        attach.extend(self.kms_profile());
        let typed = self.program.typed(&attach);
        attach.extend(["--probe-interval", &interval, "--confirm-denial", &confirm]);
        self.program.must(&attach).map(|_| typed)
    }

    pub(super) fn kms_profile(&self) -> Vec<&str> {
        self.request.kms_profile.as_deref().map_or_else(Vec::new, |profile| vec!["--kms-profile", profile])
    }

    /// So many more reads and commits than there were.
    pub(super) fn wait_for_successes(&self, observer: &Observer) -> Result<(), DrillError> {
        let until = Instant::now() + CONTROL_PATIENCE;
        let before = observer.seen();
        loop {
            self.interrupts.check()?;
            let seen = observer.seen();
            let failed = seen.read.first_failure.as_ref().or(seen.commit.first_failure.as_ref());
            if let Some((_, failure)) = failed {
                return Err(DrillError::Failed(format!(
                    "the volume did not work before its key was taken away: {}",
                    failure.message
                )));
            }
            let more = [(&seen.read, &before.read), (&seen.commit, &before.commit)];
            if more.iter().all(|(now, before)| now.successes >= before.successes + CONTROL_SUCCESSES) {
                return Ok(());
            }
            if Instant::now() > until || seen.ended_us.is_some() {
                return Err(DrillError::Failed("the observer saw no read and no commit".to_owned()));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn traces(
        &self,
        id: &VolumeId,
        mount: &Path,
        database: Option<ProcessName>,
    ) -> Result<Traces, DrillError> {
        let status = self.program.must(&["status", id.as_str()])?;
        let pid = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let image_mount = self.root.volume(id).mount_point();
        let device = status["device"].as_str().and_then(|device| device.rsplit('/').next());
        let loop_backing = device.and_then(|name| Shown::at(&Path::new("/sys/block").join(name).join("loop")));
        let connection = FuseConnection::at(&image_mount)?.map(|connection| connection.id().to_string());
        let connection = connection.and_then(|id| Shown::at(&Path::new("/sys/fs/fuse/connections").join(id)));
        let daemon = pid.and_then(ProcessName::of);
        if daemon.is_none() || loop_backing.is_none() {
            return Err(DrillError::Failed(format!("volume {id} is not attached as it should be: {status}")));
        }
        let mount = mount.to_owned();
        Ok(Traces { mount, image_mount, loop_backing, connection, volume_id: id.to_string(), daemon, database })
    }
}

/// The file that the observer reads.
pub(super) fn observed(dir: &Path) -> PathBuf {
    dir.join("observed")
}

/// For sockets as well, whose paths are short.
fn is_reachable(directory: &Path, user: &str, drill_id: &str) -> bool {
    let mut test = as_user(user, Path::new("/usr/bin/test"), drill_id);
    let passes = test.arg("-x").arg(directory).status().is_ok_and(|status| status.success());
    passes && directory.as_os_str().len() < MAX_SOCKET_DIRECTORY
}
