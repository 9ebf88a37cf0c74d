//! `envol snapshot delete`, `prune` and `gc`: no key is needed, since every manifest says what it refers to.

use serde_json::json;

use super::arguments::{Delete, Gc, Prune};
use super::store::{Reach, is_live};
use crate::catalog::{self, LastSnapshot, Root};
use crate::cli::confirmation::confirm_deletion;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::quantity::size;
use crate::format::{SnapshotId, VolumeId};
use crate::snapshot::{Freed, KeepRules, SnapshotHeader, SnapshotKind, SnapshotStore};

pub(super) fn delete(root: &Root, verb: &Delete, output: &Output) -> Result<(), CliError> {
    let reach = Reach::of(root, &verb.store)?;
    let store = reach.open_existing()?;
    let id = &verb.snapshot;
    // One that is damaged may go, too.
    let header = store.header(id).ok();
    if !verb.yes {
        confirm_deletion(&format!("Delete snapshot {id}?"))?;
    }
    let freed = store.delete(id, &is_live).map_err(CliError::from_snapshot);
    match header {
        Some(header) => note_newest(root, &store, &reach, &header.draft.volume_id, output),
        // It went with an earlier command that was cut short, perhaps all of it: who has it for the newest is found by its id.
        None => {
            for volume in catalog::list(root)? {
                if volume.last_snapshot.is_some_and(|last| last.snapshot_id == *id) {
                    note_newest(root, &store, &reach, &volume.volume_id, output);
                }
            }
        }
    }
    let freed = freed?;
    let text = format!("snapshot {id} is deleted; {} of the store are free", size(freed.bytes));
    output.print(&text, &json!({ "snapshot_id": id, "removed_objects": freed.objects, "removed_bytes": freed.bytes }))
}

pub(super) fn prune(root: &Root, verb: &Prune, output: &Output) -> Result<(), CliError> {
    let count = |keep: Option<u32>| keep.unwrap_or(0);
    let rules = KeepRules {
        last: count(verb.keep_last),
        hourly: count(verb.keep_hourly),
        daily: count(verb.keep_daily),
        weekly: count(verb.keep_weekly),
        monthly: count(verb.keep_monthly),
    };
    if rules.keep_nothing() {
        return Err(CliError::usage("these rules keep no snapshot at all; to delete one, use `envol snapshot delete`"));
    }
    let reach = Reach::of(root, &verb.store)?;
    let store = reach.open_existing()?;
    let mut headers = store.headers().map_err(CliError::from_snapshot)?.headers;
    // Copies and shares are somebody's, and were made by hand.
    headers.retain(|header| header.draft.volume_id == verb.volume && header.draft.kind == SnapshotKind::Volume);
    let gone = rules.plan(&headers);
    let mut freed = Freed::default();
    if !verb.dry_run {
        for id in &gone {
            let of_one = store.delete(id, &is_live).map_err(CliError::from_snapshot)?;
            freed = Freed { bytes: freed.bytes + of_one.bytes, objects: freed.objects + of_one.objects };
        }
        note_newest(root, &store, &reach, &verb.volume, output);
    }
    let kept: Vec<&SnapshotId> = headers.iter().map(SnapshotHeader::id).filter(|id| !gone.contains(id)).collect();
    let names = gone.iter().map(SnapshotId::as_str).collect::<Vec<_>>().join("\n");
    let verbed = if verb.dry_run { "would be deleted" } else { "deleted" };
    let text = format!("{} of {} snapshots {verbed}\n{names}", gone.len(), headers.len());
    let object = json!({
        "volume_id": verb.volume,
        "deleted": gone,
        "kept": kept,
        "dry_run": verb.dry_run,
        "removed_objects": freed.objects,
        "removed_bytes": freed.bytes,
    });
    output.print(&text, &object)
}

pub(super) fn gc(root: &Root, verb: &Gc, output: &Output) -> Result<(), CliError> {
    let store = Reach::of(root, &verb.store)?.open_existing()?;
    let freed = store.gc(&is_live, verb.dry_run).map_err(CliError::from_snapshot)?;
    let verbed = if verb.dry_run { "would be removed" } else { "removed" };
    let text = format!("{} objects {verbed}, {}", freed.objects, size(freed.bytes));
    let object = json!({ "removed_objects": freed.objects, "removed_bytes": freed.bytes, "dry_run": verb.dry_run });
    output.print(&text, &object)
}

/// What `status` says of a volume of this host whose snapshots in this store became fewer.
fn note_newest(root: &Root, store: &SnapshotStore, reach: &Reach, volume: &VolumeId, output: &Output) {
    let Ok(paths) = root.existing(volume) else { return };
    let place = reach.location.to_string();
    let Ok(Some(known)) = LastSnapshot::read(&paths) else { return };
    if known.store != place {
        return;
    }
    let Ok(listing) = store.headers() else { return };
    let mut of_volume = listing
        .headers
        .iter()
        .filter(|header| header.draft.volume_id == *volume && header.draft.kind == SnapshotKind::Volume);
    let noted = match of_volume.next_back() {
        Some(newest) => {
            LastSnapshot { snapshot_id: newest.id().clone(), created_at: newest.draft.created_at, store: place }
                .write(&paths)
        }
        None => LastSnapshot::forget(&paths),
    };
    if let Err(error) = noted {
        output.warning(&error.to_string());
    }
}
