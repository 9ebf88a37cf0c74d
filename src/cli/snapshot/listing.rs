//! `envol snapshot list` and `show`: no key is needed, and nothing of it is proven.

use serde_json::{Value, json};

use super::arguments::{List, One};
use super::store::Reach;
use crate::catalog::Root;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::quantity::size;
use crate::snapshot::{Listing, SnapshotHeader};

pub(super) fn list(root: &Root, verb: &List, output: &Output) -> Result<(), CliError> {
    let reach = Reach::of(root, &verb.store)?;
    let mut listing = if verb.store.store.is_none() && reach.is_missing() {
        Listing::default()
    } else {
        reach.open_existing()?.headers().map_err(CliError::from_snapshot)?
    };
    listing.headers.retain(|header| verb.volume.as_ref().is_none_or(|volume| *volume == header.draft.volume_id));
    for error in &listing.unreadable {
        output.warning(&error.to_string());
    }
    let unreadable: Vec<String> = listing.unreadable.iter().map(ToString::to_string).collect();
    let object = json!({
        "snapshots": listing.headers.iter().map(describe).collect::<Vec<_>>(),
        "unreadable": unreadable,
    });
    output.print(&table(&listing.headers), &object)
}

pub(super) fn show(root: &Root, verb: &One, output: &Output) -> Result<(), CliError> {
    let store = Reach::of(root, &verb.store)?.open_existing()?;
    let header = store.header(&verb.snapshot).map_err(CliError::from_snapshot)?;
    output.print(&text(&header), &describe(&header))
}

/// The names are those of `--json`.
pub(super) fn describe(header: &SnapshotHeader) -> Value {
    let draft = &header.draft;
    json!({
        "snapshot_id": draft.snapshot_id,
        "volume_id": draft.volume_id,
        "db_id": draft.database_id.to_string(),
        "kms_key": draft.kms_key,
        "kind": draft.kind,
        "created_at": draft.created_at,
        "frozen": draft.frozen,
        "size_bytes": draft.size_bytes,
        "file_system": draft.file_system.map(|kind| kind.to_string()),
        "full_bytes": header.full_bytes,
        "incremental_bytes": header.incremental_bytes,
        "stored_bytes": header.stored_bytes,
        "base_snapshot_id": header.base_snapshot_id,
        "source_snapshot_id": draft.source_snapshot_id,
    })
}

fn table(headers: &[SnapshotHeader]) -> String {
    if headers.is_empty() {
        return "no snapshots".to_owned();
    }
    let mut text = format!(
        "{:<22} {:<22} {:<20} {:>9} {:>9} {:>9}  KIND\n",
        "SNAPSHOT", "VOLUME", "CREATED", "FULL", "NEW", "STORED"
    );
    for header in headers {
        let draft = &header.draft;
        let at = draft.created_at.round(jiff::Unit::Second).unwrap_or(draft.created_at).to_string();
        text.push_str(&format!(
            "{:<22} {:<22} {:<20} {:>9} {:>9} {:>9}  {}\n",
            draft.snapshot_id.as_str(),
            draft.volume_id.as_str(),
            at,
            size(header.full_bytes),
            size(header.incremental_bytes),
            size(header.stored_bytes),
            draft.kind
        ));
    }
    text
}

fn text(header: &SnapshotHeader) -> String {
    let draft = &header.draft;
    let mut lines = vec![
        ("snapshot", draft.snapshot_id.to_string()),
        ("kind", draft.kind.to_string()),
        ("created", draft.created_at.to_string()),
        ("volume", draft.volume_id.to_string()),
        ("database", draft.database_id.to_string()),
        ("KMS key", draft.kms_key.to_string()),
        ("size", size(draft.size_bytes)),
        ("file system", draft.file_system.map_or_else(|| "none".to_owned(), |kind| kind.to_string())),
        ("data", size(header.full_bytes)),
        ("new data", size(header.incremental_bytes)),
        ("stored", size(header.stored_bytes)),
    ];
    let mut add = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    add("built upon", header.base_snapshot_id.as_ref().map(ToString::to_string));
    add("made from", draft.source_snapshot_id.as_ref().map(ToString::to_string));
    add("frozen", draft.frozen.then(|| "yes".to_owned()));
    lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
}
