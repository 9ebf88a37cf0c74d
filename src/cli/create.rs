//! `envol create`: prints the volume's id.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kms_client::KmsKeyId;
use serde_json::json;

use super::arguments::Create;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use super::progress::Progress;
use super::snapshot::{Source, cancelled_by_signal};
use crate::catalog::{self, CreateRequest, RestoreProgress, Root};
use crate::format::{DatabaseId, Geometry, VolumeId};

const REDRAW_INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn run(root: &Root, verb: &Create, output: &Output) -> Result<(), CliError> {
    let database_id = match (&verb.db_id, &verb.dbc_id) {
        (Some(name), None) => DatabaseId::Instance(name.clone()),
        (None, Some(name)) => DatabaseId::Cluster(name.clone()),
        _ => return Err(CliError::usage("give either --db-id or --dbc-id")),
    };
    let kms_key = named_key(&verb.kms_key)?;
    let id = match &verb.id {
        Some(id) => id.clone(),
        None => VolumeId::random().map_err(|error| CliError::new(ExitStatus::Unexpected, error.to_string()))?,
    };
    let source =
        verb.snapshot.as_ref().map(|snapshot| Source::open(root, &verb.store, snapshot, "create")).transpose()?;
    let of_snapshot = source.as_ref().map(|source| source.reader.header().draft.size_bytes);
    let size = verb.size.or(of_snapshot).ok_or_else(|| CliError::usage("--size is missing"))?;
    let request = CreateRequest {
        id,
        database_id,
        geometry: Geometry::new(size).map_err(|error| CliError::usage(error.to_string()))?,
        kms_key,
        grantee: verb.grantee.clone(),
        kms_profile: verb.kms_profile.clone(),
        on_revocation: verb.on_revocation,
        backing: verb.backing.clone(),
    };
    let id = match source {
        Some(source) => restore(root, request, verb.id.is_none(), &source, output)?,
        None => {
            let mut progress = Progress::new("preparing the image", output);
            catalog::create(root, &request, &mut |done, total| progress.show(done, total))?;
            request.id
        }
    };
    let summary = catalog::summarize(&root.volume(&id));
    let object = json!({
        "volume_id": id,
        "state": "available",
        "db_id": summary.db_id,
        "kms_key": summary.kms_key,
        "grant_id": summary.grant_id,
        "size_bytes": summary.size_bytes,
        "backing": summary.backing,
        "snapshot_id": verb.snapshot,
    });
    output.print(id.as_str(), &object)
}

/// KMS is not asked about what cannot be a name.
pub(super) fn named_key(text: &str) -> Result<KmsKeyId, CliError> {
    if text.is_empty() || text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        return Err(CliError::usage("--kms-key is the id, ARN, alias or alias ARN of a KMS key"));
    }
    Ok(KmsKeyId(text.to_owned()))
}

fn restore(
    root: &Root,
    request: CreateRequest,
    id_is_random: bool,
    source: &Source,
    output: &Output,
) -> Result<VolumeId, CliError> {
    let (cancelled, done) = (cancelled_by_signal()?, RestoreProgress::default());
    let total = source.reader.header().full_bytes;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut progress = Progress::new("restoring", output);
            let mut said = false;
            while !over.load(Ordering::Acquire) {
                if !said && let Some(id) = done.volume.get() {
                    said = true;
                    // Said now: a command that is killed says nothing.
                    output.note(&format!(
                        "restoring into volume {id}; if this is cut short, the same command goes on with it, and \
                         `envol delete {id}` removes it"
                    ));
                }
                progress.show(done.done_bytes.load(Ordering::Relaxed), total);
                thread::park_timeout(REDRAW_INTERVAL);
            }
        });
        let restored = catalog::restore(root, request, id_is_random, &source.reader, &done, &cancelled);
        over.store(true, Ordering::Release);
        restored
    })
    .map_err(CliError::from)
}
