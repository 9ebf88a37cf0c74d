//! The ioctls on a file system as a whole.

#![allow(unsafe_code, reason = "an ioctl is only as typed as its caller says")]

use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `FS_IOC_SHUTDOWN` of linux/fs.h (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`): `_IOR('X', 125, __u32)`, though it reads its argument.
const FS_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// `FIFREEZE` of linux/fs.h: `_IOWR('X', 119, int)`; its argument is not looked at.
const FIFREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);

/// `FITHAW` of linux/fs.h: `_IOWR('X', 120, int)`; its argument is not looked at.
const FITHAW: Opcode = opcode::read_write::<i32>(b'X', 120);

/// Write nothing more, not even the journal: the store no longer takes anything.
const FS_SHUTDOWN_FLAGS_NOLOGFLUSH: u32 = 2;

/// Writes back what is dirty and holds every writer back, until [`thaw`]. `EBUSY` if it is frozen already.
pub(super) fn freeze(dir: impl AsFd) -> std::io::Result<()> {
    // SAFETY: the kernel ignores the argument.
    let setter = unsafe { Setter::<FIFREEZE, i32>::new(0) };
    // SAFETY: as below.
    Ok(unsafe { ioctl(dir, setter) }?)
}

/// Lets a frozen file system go on. `EINVAL` if it is not frozen.
pub(super) fn thaw(dir: impl AsFd) -> std::io::Result<()> {
    // SAFETY: the kernel ignores the argument.
    let setter = unsafe { Setter::<FITHAW, i32>::new(0) };
    // SAFETY: as below.
    Ok(unsafe { ioctl(dir, setter) }?)
}

/// Shuts down the file system that a directory is on: from now on every operation fails.
pub(super) fn shut_down_without_flush(dir: impl AsFd) -> std::io::Result<()> {
    // SAFETY: the kernel reads one u32 through the pointer and writes nothing.
    let setter = unsafe { Setter::<FS_IOC_SHUTDOWN, u32>::new(FS_SHUTDOWN_FLAGS_NOLOGFLUSH) };
    // SAFETY: the opcode and its argument belong together; the descriptor is borrowed for the call.
    Ok(unsafe { ioctl(dir, setter) }?)
}
