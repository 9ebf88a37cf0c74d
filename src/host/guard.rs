//! The bare directory beneath a mount: closed and immutable while nothing is mounted on it, so that no database starts on it unencrypted.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, IFlags, Mode, OFlags, fchmod, fstat, ioctl_getflags, ioctl_setflags, openat};
use rustix::io::Errno;

use super::error::{Context, HostError};
use super::mounts::is_root_of_mount;

/// What [`guard`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarded {
    /// The permission bits from before, for [`release`]. None if the directory was closed already.
    pub former_mode: Option<u32>,
    /// False where the file system has no such flag. Then mode 0000 is all there is, and it does not stop root.
    pub immutable: bool,
}

/// Closes the directory: mode 0000 and, where possible, immutable. Nothing changes if it is closed already.
///
/// # Errors
/// [`HostError::Busy`] if something is mounted on it: then it would be the root of that file system that is closed.
pub fn guard(dir: &Path) -> Result<Guarded, HostError> {
    let bare = open_bare(dir)?;
    let changing = || format!("cannot close {}", dir.display());
    let mode = fstat(&bare).context(changing)?.st_mode & 0o7777;
    if mode != 0 {
        // The flag forbids the change of mode, too.
        set_immutable(&bare, false).context(changing)?;
        fchmod(&bare, Mode::empty()).context(changing)?;
    }
    let immutable = set_immutable(&bare, true).context(changing)?;
    Ok(Guarded { former_mode: (mode != 0).then_some(mode), immutable })
}

/// Opens the directory again, with these permission bits.
///
/// # Errors
/// [`HostError::Busy`] if something is mounted on it.
pub fn release(dir: &Path, mode: u32) -> Result<(), HostError> {
    let bare = open_bare(dir)?;
    let changing = || format!("cannot open {} again", dir.display());
    set_immutable(&bare, false).context(changing)?;
    fchmod(&bare, Mode::from_raw_mode(mode & 0o7777)).context(changing)
}

/// Opens the directory itself. What is mounted on it later does not change what the descriptor stands for.
fn open_bare(dir: &Path) -> Result<OwnedFd, HostError> {
    let opening = || format!("cannot open {}", dir.display());
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = openat(CWD, dir, flags | OFlags::PATH, Mode::empty()).context(opening)?;
    if is_root_of_mount(&place)? {
        return Err(HostError::Busy { what: format!("{}, on which something is mounted,", dir.display()) });
    }
    // A descriptor of a place can neither chmod nor ioctl. Only now may the file system be asked: it is the host's.
    openat(CWD, format!("/proc/self/fd/{}", place.as_raw_fd()), flags | OFlags::RDONLY, Mode::empty()).context(opening)
}

/// Returns whether the flag is as wanted: a file system without flags is not immutable.
fn set_immutable(dir: &OwnedFd, wanted: bool) -> Result<bool, Errno> {
    let change = || {
        let flags = ioctl_getflags(dir)?;
        let mut changed = flags;
        changed.set(IFlags::IMMUTABLE, wanted);
        if changed == flags { Ok(()) } else { ioctl_setflags(dir, changed) }
    };
    match change() {
        Ok(()) => Ok(true),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(!wanted),
        Err(errno) => Err(errno),
    }
}
