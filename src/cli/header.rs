//! `envol header backup` and `envol header restore`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::json;

use super::arguments::Header;
use super::error::CliError;
use super::exit_code::ExitStatus;
use super::output::Output;
use crate::catalog::{self, RestoredHeader, Root};
use crate::daemon::clear_leftovers;
use crate::format::{FileSystemState, HeaderBackup, VolumeId};

/// More than a backup has: what is longer is none.
const MOST_BYTES: u64 = 1 << 20;

pub(super) fn run(root: &Root, verb: &Header, output: &Output) -> Result<(), CliError> {
    match verb {
        Header::Backup { volume, file } => back_up(root, volume, file, output),
        Header::Restore { volume, file, force_older } => restore(root, volume, file, *force_older, output),
    }
}

fn back_up(root: &Root, id: &VolumeId, file: &Path, output: &Output) -> Result<(), CliError> {
    let header = catalog::back_up_header(&root.existing(id)?, file)?;
    if !matches!(header.file_system, FileSystemState::Formatted(_)) {
        output.note(&format!(
            "volume {id} has no file system yet: make another backup after its first attach with a directory, or attach will take it for blank"
        ));
    }
    let text = format!(
        "the header of volume {id} is in {}\n\
         `envol header restore {id} {}` brings it back when the first MiB of the image is damaged. Keep it off this disk. It is no \
         backup of the data.\n\
         It holds the keys as they are wrapped now, and undoes what changes them: after a rewrap it opens the volume by the old KMS key, \
         after an erase it defeats the erasure, as long as that key works. Make a new one after a rewrap or a resize, and destroy this one",
        file.display(),
        file.display()
    );
    let object = json!({
        "volume_id": id,
        "file": file,
        "kms_key": header.kms_key,
        "key_generation": header.key_generation,
        "size_bytes": header.geometry.size_bytes(),
        "file_system": header.file_system.to_string(),
    });
    output.print(&text, &object)
}

fn restore(root: &Root, id: &VolumeId, file: &Path, force_older: bool, output: &Output) -> Result<(), CliError> {
    let paths = root.existing(id)?;
    let bytes = read(file)?;
    let backup = HeaderBackup::parse(&bytes).map_err(|damage| {
        let message =
            format!("{} is damaged, or no backup of a header: it {damage}. Nothing was written", file.display());
        CliError::new(ExitStatus::NotOurs, message)
    })?;
    // What a killed daemon left holds the image no more, but still shows it.
    clear_leftovers(&paths, false)?;
    let RestoredHeader { header, may_have_a_file_system } = catalog::restore_header(&paths, &backup, force_older)?;
    if may_have_a_file_system {
        output.warning(&format!(
            "this backup says that volume {id} never had a file system, but something was written to it. Do not use `attach --mkfs`, which would destroy \
             that; `attach --raw` shows what is there"
        ));
    }
    let text = format!(
        "volume {id} has its header back: {} bytes under {} (key generation {}). `envol attach {id}` proves it",
        header.geometry.size_bytes(),
        header.kms_key,
        header.key_generation
    );
    let object = json!({
        "volume_id": id,
        "state": catalog::summarize(&paths).state,
        "kms_key": header.kms_key,
        "key_generation": header.key_generation,
        "size_bytes": header.geometry.size_bytes(),
    });
    output.print(&text, &object)
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|opened| opened.take(MOST_BYTES).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CliError::new(ExitStatus::NoSuchThing, format!("there is no {}", file.display())),
        _ => CliError::new(ExitStatus::Unexpected, format!("cannot read {}: {error}", file.display())),
    })
}
