//! `envol snapshot share`: the same data under a key of its own, and a grant on that key for somebody else.

use serde_json::json;

use super::arguments::Share;
use super::copy::{new_id, options, renamed};
use super::listing::describe;
use super::source::Source;
use crate::catalog::{Root, SHARE_PERMISSIONS, WrappedSnapshotKey, share_snapshot_key, unwrap_snapshot_key};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::snapshot::{self, SnapshotKind};

const PERSON: &str = "whoever runs `envol snapshot share`";

pub(super) fn run(root: &Root, verb: &Share, output: &Output) -> Result<(), CliError> {
    let source = Source::open(root, &verb.store, &verb.snapshot, "snapshot share")?;
    let of = &source.reader.header().draft;
    let id = new_id()?;
    let context = of.database_id.snapshot_context(&of.volume_id, &id);
    let (key, grant_id) = share_snapshot_key(&of.kms_key, &id, context, &verb.with, PERSON)?;
    let draft = renamed(of, key, SnapshotKind::Share);
    let key = unwrap_snapshot_key(&WrappedSnapshotKey::of(&draft), None, None, PERSON)?;
    let header = snapshot::reseal(&source.reader, draft, key, options()?).map_err(CliError::from_snapshot)?;

    let mut object = describe(&header);
    object["shared_with"] = json!(verb.with.to_string());
    object["grant_id"] = json!(grant_id);
    object["permissions"] = json!(SHARE_PERMISSIONS);
    if !output.json {
        output.note(&format!(
            "shared with {}: grant {grant_id} on {} allows {} for this snapshot alone. An administrator there has to allow the \
             same to whoever copies it, and you to read the store. To take it back: envol snapshot delete {}, and aws kms \
             revoke-grant --key-id {} --grant-id {grant_id}",
            verb.with,
            header.draft.kms_key,
            SHARE_PERMISSIONS.join(", "),
            header.id(),
            header.draft.kms_key,
        ));
    }
    output.print(header.id().as_str(), &object)
}
