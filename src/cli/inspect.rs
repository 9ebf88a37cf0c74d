//! `envol inspect`: what an image says of itself. Nothing of it is proven without the key.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::arguments::Inspect;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use super::quantity::size;
use crate::catalog::{self, Peek, Root, peek};
use crate::format::{Damage, Superblock, UnverifiedSuperblock};

pub(super) fn run(root: &Root, verb: &Inspect, output: &Output) -> Result<(), CliError> {
    let path = verb.image.display();
    let peek = peek(&verb.image).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::new(ExitStatus::NoSuchThing, format!("there is no {path}")),
        _ => CliError::new(ExitStatus::Unexpected, format!("cannot read {path}: {error}")),
    })?;
    let headers =
        peek.headers.as_ref().map_err(|error| CliError::new(ExitStatus::NotOurs, format!("{path}: {error}")))?;
    let header = headers.newest().unproven();
    let grant_id = grant_id(root, header, &verb.image);
    output.print(&text(header, &peek, grant_id.as_deref()), &object(header, &peek, grant_id.as_deref()))
}

/// An image does not know of it; the root directory does, if this is the image of one of its volumes.
fn grant_id(root: &Root, header: &Superblock, image: &Path) -> Option<String> {
    let paths = root.volume(&header.volume_id);
    let same = fs::canonicalize(paths.backing()).ok()? == fs::canonicalize(image).ok()?;
    same.then(|| catalog::summarize(&paths).grant_id).flatten()
}

fn copy_state(copy: &Result<UnverifiedSuperblock, Damage>) -> String {
    match copy {
        Ok(superblock) => format!("whole, sequence {}", superblock.sequence()),
        Err(damage) => damage.to_string(),
    }
}

fn lifecycle(peek: &Peek) -> String {
    match &peek.lifecycle {
        Ok(None) => "not terminal".to_owned(),
        Ok(Some(record)) => format!("terminal: {} ({})", record.cause, record.detail),
        Err(error) => error.to_string(),
    }
}

fn text(header: &Superblock, peek: &Peek, grant_id: Option<&str>) -> String {
    let [a, b] = peek.copies.each_ref().map(copy_state);
    let rows = [
        ("volume", header.volume_id.to_string()),
        ("database", format!("{} = {}", header.database_id.context_key(), header.database_id)),
        ("KMS key", header.kms_key.to_string()),
        ("grant", grant_id.unwrap_or_default().to_owned()),
        ("key generation", header.key_generation.to_string()),
        ("size", format!("{} ({} bytes)", size(header.geometry.size_bytes()), header.geometry.size_bytes())),
        ("regions", header.geometry.region_count().to_string()),
        ("image", format!("{} bytes, {} needed", peek.len_bytes, header.geometry.image_len_bytes())),
        ("file system", header.file_system.to_string()),
        ("on revocation", header.revocation_policy.to_string()),
        ("lifecycle", lifecycle(peek)),
        ("wrapped key", format!("{} bytes", header.wrapped_volume_key.0.len())),
        ("canary", format!("{} bytes", header.wrapped_canary.0.len())),
        ("header copy A", a),
        ("header copy B", b),
        ("", "whether the header is authentic shows when the volume is attached: its MAC needs the key".to_owned()),
    ];
    let known = rows.iter().filter(|(name, value)| *name != "grant" || !value.is_empty());
    known.map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}

fn object(header: &Superblock, peek: &Peek, grant_id: Option<&str>) -> Value {
    let [a, b] = peek.copies.each_ref().map(copy_state);
    json!({
        "volume_id": header.volume_id,
        "format_version": crate::format::FORMAT_VERSION,
        "db_id": header.database_id.to_string(),
        "db_id_kind": header.database_id.context_key(),
        "kms_key": header.kms_key,
        "grant_id": grant_id,
        "key_generation": header.key_generation,
        "size_bytes": header.geometry.size_bytes(),
        "image_bytes": peek.len_bytes,
        "file_system": header.file_system.to_string(),
        "on_revocation": header.revocation_policy.to_string(),
        "lifecycle": lifecycle(peek),
        "header_copies": { "a": a, "b": b },
    })
}
