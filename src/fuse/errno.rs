//! The only place that makes an errno out of an error.

use fuser::Errno;

use crate::volume::VolumeError;

/// What the kernel is told. Logged here too: a database only ever sees the number.
pub(super) fn errno(error: &VolumeError) -> Errno {
    match error {
        VolumeError::OutOfRange { .. } => Errno::EINVAL,
        VolumeError::LostBlock(_) => {
            tracing::error!("{error}");
            Errno::EIO
        }
        VolumeError::Store { source, .. } => match source.raw_os_error() {
            Some(libc::ENOSPC) => Errno::ENOSPC,
            _ => Errno::EIO,
        },
        VolumeError::WouldWait => Errno::EAGAIN,
        // ENODEV would say more, but databases and file systems know how to stop on EIO.
        VolumeError::Ended(_) => Errno::EIO,
    }
}
