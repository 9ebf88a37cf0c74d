//! What is asked of a drill, and the limits that it is held to: fixed before anything is done.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use kms_client::{KmsKeyId, PrincipalArn};
use serde::Serialize;

use super::way::Way;
use crate::format::{SnapshotId, VolumeId};

/// What works on the volume meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    Postgres,
    Mariadb,
    None,
}

/// A snapshot and where it lies.
#[derive(Clone, Debug)]
pub struct SnapshotPlace {
    pub id: SnapshotId,
    /// As `--store` takes it; without, that of the root directory.
    pub store: Option<String>,
    pub store_profile: Option<String>,
}

/// Whose key is taken away.
#[derive(Clone, Debug)]
pub enum Subject {
    /// A volume of the drill's own, blank or made of a snapshot.
    ThrowAway { size_bytes: Option<u64>, snapshot: Option<SnapshotPlace> },
    /// A volume that is in use.
    Yours { volume: VolumeId, max_snapshot_age: Duration, store_profile: Option<String> },
}

#[derive(Clone, Debug)]
pub struct DrillRequest {
    pub way: Way,
    pub subject: Subject,
    /// Without, the drill makes a key of its own.
    pub kms_key: Option<KmsKeyId>,
    /// Without, PostgreSQL where it is installed.
    pub workload: Option<WorkloadKind>,
    pub grantee: Option<PrincipalArn>,
    pub kms_profile: Option<String>,
    pub thresholds: Thresholds,
    /// Go on although others depend on the key.
    pub shared_key: bool,
    /// Where the report goes; without, the drill's own directory.
    pub report: Option<PathBuf>,
}

/// How often the key is asked for, and how soon what must have happened.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Thresholds {
    pub probe_interval_ms: u64,
    pub confirm_denial_ms: u64,
    /// From the answer of KMS to the revocation until the volume has its verdict.
    pub detect_within_ms: u64,
    /// From the verdict until everything is gone.
    pub purge_within_ms: u64,
    /// From the key being allowed again until the way back is gone; none by default.
    pub recover_within_ms: Option<u64>,
}

impl SnapshotPlace {
    pub(super) fn store_arguments(&self) -> Vec<&str> {
        let store = self.store.as_deref().map(|store| ["--store", store]);
        let profile = self.store_profile.as_deref().map(|profile| ["--store-profile", profile]);
        store.into_iter().chain(profile).flatten().collect()
    }
}

impl Thresholds {
    /// `detect_within`: where it is not given, one probe and a second for its round trip; what is a denial is asked
    /// again first.
    pub fn new(
        way: Way,
        probe_interval: Duration,
        confirm_denial: Duration,
        detect_within: Option<Duration>,
        purge_within: Duration,
        recover_within: Option<Duration>,
    ) -> Self {
        let confirmation = if way.is_denial() { confirm_denial } else { Duration::ZERO };
        let detect_within = detect_within.unwrap_or(probe_interval + Duration::from_secs(1) + confirmation);
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self {
            probe_interval_ms: ms(probe_interval),
            confirm_denial_ms: ms(confirm_denial),
            detect_within_ms: ms(detect_within),
            purge_within_ms: ms(purge_within),
            recover_within_ms: recover_within.map(ms),
        }
    }

    /// How long the drill looks on before it gives up: a failure that is late is still worth its figure.
    pub fn patience(&self) -> Duration {
        let limits = self.detect_within_ms.saturating_add(self.purge_within_ms).saturating_mul(5);
        Duration::from_millis(limits).max(Duration::from_secs(60))
    }
}

impl FromStr for WorkloadKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "postgres" => Ok(Self::Postgres),
            "mariadb" => Ok(Self::Mariadb),
            "none" => Ok(Self::None),
            _ => Err("one of postgres, mariadb, none".to_owned()),
        }
    }
}
