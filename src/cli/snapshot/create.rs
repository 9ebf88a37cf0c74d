//! `envol snapshot create`: the daemon takes it, this command holds the line and shows how far it is.

use kms_client::KmsKeyId;

use super::arguments::Create;
use super::listing::describe;
use super::store::{Lent, Reach, is_live};
use crate::catalog::{self, Root, VolumePaths, WrappedSnapshotKey, wrap_snapshot_key};
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitStatus;
use crate::cli::interruption::Interruption;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::daemon::{self, Command, ControlError, Conversation, Reply, SnapshotOrder};
use crate::format::SnapshotId;
use crate::snapshot::{SnapshotHeader, SnapshotKind, SnapshotStore, UploadMarker};

pub(super) fn run(root: &Root, verb: &Create, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(&verb.volume)?;
    if let Some(revoked) = catalog::read_revoked(&paths) {
        return Err(revoked.into());
    }
    let reach = Reach::of(root, &verb.store)?;
    let interruption = Interruption::await_one()?;
    let attached = Attached::make_sure(root, &paths, verb, output)?;
    let taken = take(&paths, verb, &reach, &interruption, output);
    attached.end(output);
    let (header, read_bytes) = taken?;
    let mut object = describe(&header);
    object["read_bytes"] = read_bytes.into();
    output.print(header.id().as_str(), &object)
}

fn take(
    paths: &VolumePaths,
    verb: &Create,
    reach: &Reach,
    interruption: &Interruption,
    output: &Output,
) -> Result<(SnapshotHeader, u64), CliError> {
    let store = reach.open(verb.bandwidth)?;
    let key = key_for(paths, &store, output)?;
    let mut lent = Lent::of(reach)?;
    let id = key.snapshot.clone();
    let order = SnapshotOrder {
        snapshot_id: key.snapshot,
        kms_key: key.kms_key,
        wrapped_key: key.wrapped,
        uploader: catalog::this_uploader().map_err(|error| CliError::new(ExitStatus::Unexpected, error.to_string()))?,
        store: reach.location.to_string(),
        s3: lent.order.clone(),
        bandwidth_bytes_per_s: verb.bandwidth,
        compress: !verb.no_compression,
        freeze: verb.freeze,
        spill_limit_bytes: verb.spill,
    };
    let mut line = Conversation::begin(paths, &Command::Snapshot(Box::new(order)))?;
    let mut progress = Progress::new("taking the snapshot", output);
    loop {
        match line.hear().map_err(|error| lost(paths, error))? {
            Reply::SnapshotProgress(so_far) => progress.show(so_far.done_bytes, so_far.wanted_bytes),
            Reply::SnapshotTaken { header, read_bytes } => return Ok((*header, read_bytes)),
            // It was cut short a moment ago, and came through after all: that is another snapshot, of an earlier moment.
            Reply::SnapshotFailed { .. } if store.header(&id).is_ok() => {
                return take(paths, verb, reach, interruption, output);
            }
            Reply::SnapshotFailed { message, exit_code } => {
                return Err(CliError { code: exit_code, message, printed: false });
            }
            Reply::Busy { message } => return Err(CliError::new(ExitStatus::Busy, message)),
            Reply::Failed { message } => return Err(CliError::new(ExitStatus::Unexpected, message)),
            Reply::Status(_)
            | Reply::Detached
            | Reply::AnotherRoot { .. }
            | Reply::Rewrapped(_)
            | Reply::RewrapFailed { .. }
            | Reply::Resizing { .. }
            | Reply::Resized(_)
            | Reply::ResizeFailed { .. } => {
                return Err(CliError::new(ExitStatus::Unexpected, "the daemon answered another question"));
            }
        }
        if interruption.received.try_recv().is_ok() {
            let message = "interrupted; the same command goes on with what is stored";
            return Err(CliError::new(ExitStatus::Interrupted, message));
        }
        if let Some(order) = lent.renewed(output) {
            line.say(order)?;
        }
    }
}

/// Most likely the key was revoked meanwhile, and the image says so.
fn lost(paths: &VolumePaths, error: ControlError) -> CliError {
    if let Some(revoked) = catalog::read_revoked(paths) {
        return revoked.into();
    }
    if !error.is_lost() {
        return error.into();
    }
    let volume = paths.id();
    let message = format!(
        "the daemon of volume {volume} ended before the snapshot was taken. Attach the volume again; the same command goes \
         on with what is stored"
    );
    CliError::new(ExitStatus::Unexpected, message)
}

/// That of an interrupted upload, so that what is stored can be used; else a new one, under the volume's KMS key.
fn key_for(paths: &VolumePaths, store: &SnapshotStore, output: &Output) -> Result<WrappedSnapshotKey, CliError> {
    let peek =
        catalog::peek(&paths.backing()).map_err(|error| CliError::new(ExitStatus::NotOurs, error.to_string()))?;
    let headers = peek.headers.map_err(|error| CliError::new(ExitStatus::NotOurs, error.to_string()))?;
    let kms_key = headers.newest().kms_key().clone();
    let database = headers.newest().database_id().clone();
    let ours = |marker: &UploadMarker| {
        let draft = &marker.draft;
        draft.kind == SnapshotKind::Volume
            && (&draft.volume_id, &draft.kms_key, &draft.database_id) == (paths.id(), &kms_key, &database)
    };
    if let Some(marker) = store.interrupted(&ours, &is_live).map_err(CliError::from_snapshot)? {
        output.progress(&format!("going on with snapshot {}, which was interrupted", marker.snapshot_id()));
        return Ok(WrappedSnapshotKey::of(&marker.draft));
    }
    let id = SnapshotId::random().map_err(|error| CliError::new(ExitStatus::Unexpected, error.to_string()))?;
    let context = database.snapshot_context(paths.id(), &id);
    Ok(wrap_snapshot_key(&KmsKeyId::from(&kms_key), &id, context, "whoever runs `envol snapshot create`")?)
}

/// The volume is served while the snapshot is taken: by a daemon of its own, if there is none.
struct Attached<'a> {
    paths: &'a VolumePaths,
    here: bool,
}

impl<'a> Attached<'a> {
    fn make_sure(root: &Root, paths: &'a VolumePaths, verb: &Create, output: &Output) -> Result<Self, CliError> {
        match daemon::ask(paths, &Command::Status) {
            Ok(_) => return Ok(Self { paths, here: false }),
            Err(error) if error.is_nobody() => {}
            Err(error) => return Err(error.into()),
        }
        output.progress("attaching the volume for the snapshot");
        crate::cli::attach::attach_raw(root, paths, verb.kms_profile.as_deref(), output)?;
        Ok(Self { paths, here: true })
    }

    fn end(self, output: &Output) {
        if !self.here {
            return;
        }
        let id = self.paths.id();
        match daemon::ask(self.paths, &Command::Detach { force: true }) {
            Ok(Reply::Detached) | Err(ControlError::NotAttached | ControlError::Ended) => {}
            Ok(Reply::Busy { message } | Reply::Failed { message }) => output.warning(&message),
            Ok(_) => output.warning(&format!("volume {id} is still attached; `envol detach {id}`")),
            Err(error) => output.warning(&format!("volume {id} is still attached: {error}")),
        }
    }
}
