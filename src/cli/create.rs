//! `envol create`: prints the volume's id.

use std::io::{self, IsTerminal};

use kms_client::KmsKeyId;
use serde_json::json;

use super::arguments::Create;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{self, CreateRequest, Root};
use crate::format::{DatabaseId, Geometry, VolumeId};

pub(super) fn run(root: &Root, verb: &Create, output: &Output) -> Result<(), CliError> {
    let database_id = match (&verb.db_id, &verb.dbc_id) {
        (Some(name), None) => DatabaseId::Instance(name.clone()),
        (None, Some(name)) => DatabaseId::Cluster(name.clone()),
        _ => return Err(CliError::usage("give either --db-id or --dbc-id")),
    };
    if verb.kms_key.is_empty() || verb.kms_key.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err(CliError::usage("--kms-key is the id, ARN, alias or alias ARN of a KMS key"));
    }
    let id = match &verb.id {
        Some(id) => id.clone(),
        None => VolumeId::random().map_err(|error| CliError::new(ExitStatus::Unexpected, error.to_string()))?,
    };
    let request = CreateRequest {
        id,
        database_id,
        geometry: Geometry::new(verb.size).map_err(|error| CliError::usage(error.to_string()))?,
        kms_key: KmsKeyId(verb.kms_key.clone()),
        grantee: verb.grantee.clone(),
        kms_profile: verb.kms_profile.clone(),
        backing: verb.backing.clone(),
    };
    let mut bar = Bar::default();
    let superblock = catalog::create(root, &request, &mut |done, total| bar.show(done, total, output))?;
    let paths = root.volume(&request.id);
    let object = json!({
        "volume_id": superblock.volume_id,
        "state": "available",
        "db_id": superblock.database_id.to_string(),
        "kms_key": superblock.kms_key,
        "grant_id": catalog::summarize(&paths).grant_id,
        "size_bytes": superblock.geometry.size_bytes(),
        "backing": std::fs::canonicalize(paths.backing()).ok(),
    });
    output.print(superblock.volume_id.as_str(), &object)
}

/// Zeroing the maps of a large block device takes a while: a line that is drawn over on a terminal, nothing elsewhere.
#[derive(Default)]
struct Bar {
    percent: Option<u64>,
}

impl Bar {
    fn show(&mut self, done: u64, total: u64, output: &Output) {
        let percent = done * 100 / total.max(1);
        if output.json || !io::stderr().is_terminal() || self.percent == Some(percent) {
            return;
        }
        self.percent = Some(percent);
        let filled = usize::try_from(percent / 4).unwrap_or(0);
        let end = if done == total { "\n" } else { "" };
        eprint!("\rpreparing the image [{:25}] {percent:3}%{end}", "#".repeat(filled));
    }
}
