//! Who uploads a snapshot: the process of the command, known by its start and by the boot of its machine.

use std::io;

use crate::host::{ProcessName, boot_id};
use crate::snapshot::Uploader;

/// Of this process.
pub fn this_uploader() -> io::Result<Uploader> {
    let process = ProcessName::of(std::process::id()).ok_or(io::ErrorKind::NotFound)?;
    Ok(Uploader { boot_id: boot_text()?, process: serde_json::to_string(&process)? })
}

/// `None`: it was on another machine, or before the last boot of this one, and nobody here can tell.
pub fn uploader_is_alive(uploader: &Uploader) -> Option<bool> {
    let here = boot_text().ok()? == uploader.boot_id;
    let process: ProcessName = serde_json::from_str(&uploader.process).ok()?;
    here.then(|| process.is_alive())
}

fn boot_text() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_le_bytes(boot_id()?)))
}
