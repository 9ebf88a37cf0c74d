//! `envol inspect`: what an image says of itself. Nothing of it is proven without the key.

use serde_json::{Value, json};

use super::arguments::Inspect;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use super::quantity::size;
use crate::catalog::{Peek, peek};
use crate::format::{Damage, Superblock, UnverifiedSuperblock};

pub(super) fn run(verb: &Inspect, output: &Output) -> Result<(), CliError> {
    let path = verb.image.display();
    let peek = peek(&verb.image).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => CliError::new(ExitStatus::NoSuchThing, format!("there is no {path}")),
        _ => CliError::new(ExitStatus::Unexpected, format!("cannot read {path}: {error}")),
    })?;
    let headers =
        peek.headers.as_ref().map_err(|error| CliError::new(ExitStatus::NotOurs, format!("{path}: {error}")))?;
    let header = headers.newest().unproven();
    output.print(&text(header, &peek), &object(header, &peek))
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

fn text(header: &Superblock, peek: &Peek) -> String {
    let [a, b] = peek.copies.each_ref().map(copy_state);
    let rows = [
        ("volume", header.volume_id.to_string()),
        ("database", format!("{} = {}", header.database_id.context_key(), header.database_id)),
        ("KMS key", header.kms_key.to_string()),
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
    rows.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}

fn object(header: &Superblock, peek: &Peek) -> Value {
    let [a, b] = peek.copies.each_ref().map(copy_state);
    json!({
        "volume_id": header.volume_id,
        "format_version": crate::format::FORMAT_VERSION,
        "db_id": header.database_id.to_string(),
        "db_id_kind": header.database_id.context_key(),
        "kms_key": header.kms_key,
        "key_generation": header.key_generation,
        "size_bytes": header.geometry.size_bytes(),
        "image_bytes": peek.len_bytes,
        "file_system": header.file_system.to_string(),
        "on_revocation": header.revocation_policy.to_string(),
        "lifecycle": lifecycle(peek),
        "header_copies": { "a": a, "b": b },
    })
}
