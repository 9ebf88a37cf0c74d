//! What terminal takes away, after the guardian ended the volume and its keys are gone: the file system, the loop
//! device, the image. Nothing here may hold up the rest.

use std::path::Path;
use std::time::Duration;

use super::attached::Attached;
use crate::host::mounts::{self, Mounts};
use crate::host::{HostError, file_system};
use crate::revocation::Revocation;

/// After the file system was shut down, a database sees its first error and may log why it stops.
const LAST_WORDS: Duration = Duration::from_millis(250);

const STEP_DEADLINE: Duration = Duration::from_secs(2);

impl Attached {
    /// Returns what to tell: what happened, to which volume, why, and what to do next.
    pub(super) fn purge(&mut self, revocation: &Revocation) -> String {
        let note = |what: &str, result: Result<(), HostError>| {
            if let Err(error) = result {
                tracing::error!("terminal: could not {what}: {error}");
            }
        };
        if let Some(dir) = self.dir.take() {
            note("shut the file system down", shut_down(&dir));
            std::thread::sleep(LAST_WORDS);
            note(
                "unmount the file system",
                mounts::unmount_within(&dir, STEP_DEADLINE).or_else(|_| mounts::unmount_lazily(&dir)),
            );
        }
        if let Some(device) = self.device.take() {
            note("clear the loop device", device.clear());
        }
        self.unmount_image();
        self.forget_runtime_files();
        format!(
            "volume {} is terminal since {}: {} ({}). Enable the key again, create a new volume, and restore the \
             database from a backup",
            self.paths.id(),
            revocation.at,
            revocation.cause,
            revocation.answer
        )
    }
}

fn shut_down(dir: &Path) -> Result<(), HostError> {
    match Mounts::read()?.at(dir) {
        Some(mount) => file_system::shut_down(mount, STEP_DEADLINE),
        None => Ok(()),
    }
}
