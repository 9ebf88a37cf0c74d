//! What is under a root directory, as far as it can be told from the disk alone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kms_client::KmsKeyArn;
use serde::Serialize;

use super::binding::Binding;
use super::error::CatalogError;
use super::last_snapshot::LastSnapshot;
use super::lifecycle::{Standing, standing};
use super::paths::{Root, VolumePaths};
use super::peek::peek;
use crate::format::VolumeId;

/// One volume as its image describes it; the names are those of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeSummary {
    pub volume_id: VolumeId,
    /// `available`, `recoverable`, `terminal` or `error` here; a daemon knows of `in-use`.
    pub state: String,
    /// Why it is terminal, or what is damaged.
    pub cause: Option<String>,
    /// AWS's own words.
    pub detail: Option<String>,
    /// Since when it is in this state: its creation, or when the key was revoked.
    pub since: Option<Timestamp>,
    /// Until when a recoverable volume can be attached again.
    pub recoverable_until: Option<Timestamp>,
    /// What becomes of it when its key is revoked, as `create --on-revocation` took it.
    pub on_revocation: Option<String>,
    pub db_id: Option<String>,
    pub kms_key: Option<String>,
    /// The grant by which the volume service uses it.
    pub grant_id: Option<String>,
    pub size_bytes: Option<u64>,
    /// What its image takes of the file system that it lies on; a block device has no such number.
    pub allocated_bytes: Option<u64>,
    pub file_system: Option<String>,
    /// The newest that is known here.
    pub last_snapshot: Option<LastSnapshot>,
    pub backing: PathBuf,
}

/// All volumes, by id.
pub fn list(root: &Root) -> Result<Vec<VolumeSummary>, CatalogError> {
    let dir = root.volumes();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(CatalogError::io("read", &dir)(error)),
    };
    let mut ids: Vec<VolumeId> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    ids.sort();
    Ok(ids.iter().map(|id| summarize(&root.volume(id))).collect())
}

/// Never fails: what cannot be read is the state `error`.
pub fn summarize(paths: &VolumePaths) -> VolumeSummary {
    let backing = paths.backing();
    let mut summary = VolumeSummary {
        volume_id: paths.id().clone(),
        state: "error".to_owned(),
        cause: None,
        detail: None,
        since: None,
        recoverable_until: None,
        on_revocation: None,
        db_id: None,
        kms_key: None,
        grant_id: None,
        size_bytes: None,
        allocated_bytes: allocated_bytes(&backing),
        file_system: None,
        last_snapshot: LastSnapshot::read(paths).unwrap_or_default(),
        backing: fs::canonicalize(&backing).unwrap_or_else(|_| backing.clone()),
    };
    let peek = match peek(&backing) {
        Ok(peek) => peek,
        Err(error) => {
            summary.cause = Some(format!("its image cannot be read: {error}"));
            return summary;
        }
    };
    let headers = match &peek.headers {
        Ok(headers) => headers,
        Err(error) => {
            summary.cause = Some(error.to_string());
            return summary;
        }
    };
    let header = headers.newest().unproven();
    summary.db_id = Some(header.database_id.to_string());
    summary.kms_key = Some(header.kms_key.to_string());
    summary.grant_id = grant_id(paths, &header.kms_key);
    summary.size_bytes = Some(header.geometry.size_bytes());
    summary.on_revocation = Some(header.revocation_policy.to_string());
    summary.file_system = Some(header.file_system.to_string());
    match &peek.lifecycle {
        _ if header.volume_id != *paths.id() => {
            summary.cause = Some(format!("its image holds the header of volume {}", header.volume_id));
        }
        Err(error) => summary.cause = Some(error.to_string()),
        Ok(Some(record)) => {
            summary.state = match standing(Some(record), headers.newest(), Timestamp::now()) {
                Standing::RecoverableUntil(until) => {
                    summary.recoverable_until = Some(until);
                    "recoverable"
                }
                Standing::Terminal | Standing::Available => "terminal",
            }
            .to_owned();
            summary.cause = Some(record.cause.to_string());
            summary.detail = Some(record.detail.clone());
            summary.since = Timestamp::from_millisecond(record.at_ms).ok();
        }
        Ok(None) if headers.newest().is_erased() => {
            summary.state = "terminal".to_owned();
            summary.cause = Some("erased".to_owned());
        }
        Ok(None) => {
            summary.state = "available".to_owned();
            summary.since = Timestamp::from_second(header.created_at_s).ok();
        }
    }
    summary
}

fn allocated_bytes(backing: &Path) -> Option<u64> {
    /// Of `st_blocks`, whatever the file system's own are (stat(2)).
    const STAT_BLOCK_BYTES: u64 = 512;
    let found = fs::metadata(backing).ok().filter(fs::Metadata::is_file)?;
    Some(found.blocks() * STAT_BLOCK_BYTES)
}

/// What cannot be read names none; attaching says what is wrong with it.
fn grant_id(paths: &VolumePaths, named: &KmsKeyArn) -> Option<String> {
    let binding = Binding::read(paths).ok().flatten()?;
    binding.bound(named)?.grant.as_ref().map(|grant| grant.id.clone())
}
