//! `envol snapshot copy`: under another KMS key, to another store, or both. What was sealed stays as it is.

use std::sync::Arc;

use kms_client::{KmsKeyArn, KmsKeyId};

use super::arguments::{Copy, Store};
use super::listing::describe;
use super::source::{Source, cancelled_by_signal};
use super::store::{Reach, is_live};
use crate::catalog::{self, Root, WrappedSnapshotKey, unwrap_snapshot_key, wrap_snapshot_key};
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitStatus;
use crate::cli::output::Output;
use crate::cli::progress::Progress;
use crate::format::SnapshotId;
use crate::snapshot::{
    self, HeaderDraft, SnapshotHeader, SnapshotKind, SnapshotReader, SnapshotStore, UploadMarker, UploadOptions,
};

const PERSON: &str = "whoever runs `envol snapshot copy`";

pub(super) fn run(root: &Root, verb: &Copy, output: &Output) -> Result<(), CliError> {
    let source = Source::open(root, &verb.store, &verb.snapshot, "snapshot copy")?;
    let of = &source.reader.header().draft;
    let to = Store {
        store: verb.to_store.clone().or(verb.store.store.clone()),
        store_profile: verb.to_store_profile.clone().or(verb.store.store_profile.clone()),
    };
    let moves = verb.to_store.is_some();
    let target = if moves { Reach::of(root, &to)?.open(verb.bandwidth)? } else { Arc::clone(&source.store) };
    let kms_key = verb.kms_key.as_ref().map_or_else(|| KmsKeyId::from(&of.kms_key), |key| KmsKeyId(key.clone()));

    let id = new_id()?;
    let context = of.database_id.snapshot_context(&of.volume_id, &id);
    // Asked of KMS also by a repeat, which goes on under another: it says which key a name or an alias stands for by now.
    let new = wrap_snapshot_key(&kms_key, &id, context, PERSON)?;
    let draft = match interrupted(&target, of, &new.kms_key)? {
        Some(draft) => {
            output.progress(&format!("going on with copy {}, which was interrupted", draft.snapshot_id));
            draft
        }
        None => renamed(of, new, SnapshotKind::Copy),
    };
    let key = unwrap_snapshot_key(&WrappedSnapshotKey::of(&draft), None, None, PERSON)?;
    let options = options()?;
    let header = if moves {
        let base = base(&target, of, &draft)?;
        let progress = std::sync::Mutex::new(Progress::new("copying", output));
        let total = source.reader.header().full_bytes;
        let show = |done: snapshot::Progress| {
            if let Ok(mut progress) = progress.try_lock() {
                progress.show(done.sealed_bytes, total);
            }
        };
        snapshot::copy(&source.reader, draft, key, target, base, options, &show)
    } else {
        snapshot::reseal(&source.reader, draft, key, options)
    };
    let header = header.map_err(CliError::from_snapshot)?;
    output.print(header.id().as_str(), &describe(&header))
}

/// The same moment of the same volume, under another name and key.
pub(super) fn renamed(of: &HeaderDraft, key: WrappedSnapshotKey, kind: SnapshotKind) -> HeaderDraft {
    HeaderDraft {
        snapshot_id: key.snapshot,
        kms_key: key.kms_key,
        wrapped_key: key.wrapped.0,
        encryption_context: key.context,
        kind,
        source_snapshot_id: Some(of.snapshot_id.clone()),
        ..of.clone()
    }
}

pub(super) fn new_id() -> Result<SnapshotId, CliError> {
    SnapshotId::random().map_err(|error| CliError::new(ExitStatus::Unexpected, error.to_string()))
}

pub(super) fn options() -> Result<UploadOptions, CliError> {
    let uploader =
        catalog::this_uploader().map_err(|error| CliError::new(ExitStatus::Unexpected, error.to_string()))?;
    Ok(UploadOptions { compress: false, uploader, cancelled: cancelled_by_signal()? })
}

/// An earlier copy of the same snapshot under the same key that was cut short.
fn interrupted(target: &SnapshotStore, of: &HeaderDraft, kms_key: &KmsKeyArn) -> Result<Option<HeaderDraft>, CliError> {
    let ours = |draft: &HeaderDraft| {
        draft.kind == SnapshotKind::Copy
            && draft.source_snapshot_id.as_ref() == Some(&of.snapshot_id)
            && *kms_key == draft.kms_key
    };
    let marker =
        target.interrupted(&|marker: &UploadMarker| ours(&marker.draft), &is_live).map_err(CliError::from_snapshot)?;
    Ok(marker.map(|marker| marker.draft))
}

/// The newest copy of the same volume there, whose chunks need not be copied again. One that cannot be opened is no use.
fn base(
    target: &Arc<SnapshotStore>,
    of: &HeaderDraft,
    draft: &HeaderDraft,
) -> Result<Option<SnapshotReader>, CliError> {
    let listing = target.headers().map_err(CliError::from_snapshot)?;
    let ours = |header: &&SnapshotHeader| {
        let there = &header.draft;
        there.volume_id == of.volume_id && there.kms_key == draft.kms_key && there.size_bytes <= of.size_bytes
    };
    let Some(newest) = listing.headers.iter().rfind(ours) else { return Ok(None) };
    let key = unwrap_snapshot_key(&WrappedSnapshotKey::of(&newest.draft), None, None, PERSON).ok();
    Ok(key.and_then(|key| SnapshotReader::open(Arc::clone(target), newest.id(), key).ok()))
}
