//! One more volume: blank, or made of a snapshot.

use std::thread;
use std::time::{Duration, Instant};

use kms_client::{KmsKeyArn, PrincipalArn};

use super::error::DrillError;
use super::record::Step;
use super::request::SnapshotPlace;
use super::run::Drill;
use super::setup::RETRY_INTERVAL;
use crate::format::VolumeId;

/// Exit code of a command that KMS refused.
const REFUSED: u8 = 4;

/// What `create` is told.
pub(super) struct NewVolume<'a> {
    pub(super) id: &'a VolumeId,
    pub(super) key: &'a KmsKeyArn,
    /// `--db-id` or `--dbc-id`, and the name.
    pub(super) database: [&'a str; 2],
    pub(super) size_bytes: Option<u64>,
    pub(super) snapshot: Option<&'a SnapshotPlace>,
    pub(super) grantee: Option<&'a PrincipalArn>,
    pub(super) on_revocation: Option<&'a str>,
}

impl Drill<'_> {
    /// Asks again for so long while KMS refuses: what was changed there is not known everywhere at once. Returns the
    /// command.
    pub(super) fn make_volume(&mut self, new: &NewVolume<'_>, patience: Duration) -> Result<String, DrillError> {
        if new.grantee.is_some() {
            self.add(Step::Grants { key: new.key.clone(), name: new.id.to_string() })?;
        }
        self.add(Step::Volume { id: new.id.clone() })?;
        let create = new.arguments(&self.kms_profile());
        let until = Instant::now() + patience;
        loop {
            match self.program.must(&create) {
                Err(DrillError::Command { code: REFUSED, .. }) if Instant::now() < until => {}
                made => return made.map(|_| self.program.typed(&create)),
            }
            self.interrupts.check()?;
            thread::sleep(RETRY_INTERVAL);
        }
    }
}

impl NewVolume<'_> {
    fn arguments(&self, kms_profile: &[&str]) -> Vec<String> {
        let mut words = vec!["create", "--id", self.id.as_str()];
        words.extend(self.database);
        words.extend(["--kms-key", self.key.as_str()]);
        if let Some(snapshot) = self.snapshot {
            words.extend(["--snapshot", snapshot.id.as_str()]);
            words.extend(snapshot.store_arguments());
        }
        if let Some(grantee) = self.grantee {
            words.extend(["--grantee", grantee.as_str()]);
        }
        if let Some(policy) = self.on_revocation {
            words.extend(["--on-revocation", policy]);
        }
        words.extend(kms_profile);
        let size = self.size_bytes.map(|size| ["--size".to_owned(), size.to_string()]);
        words.into_iter().map(str::to_owned).chain(size.into_iter().flatten()).collect()
    }
}
