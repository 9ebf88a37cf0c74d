//! The one ioctl that neither a program nor a safe function offers.

#![allow(unsafe_code, reason = "an ioctl is only as typed as its caller says")]

use std::os::fd::AsFd;

use rustix::io;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `FS_IOC_SHUTDOWN` of linux/fs.h (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`): `_IOR('X', 125, __u32)`, though it reads its argument.
const FS_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// Write nothing more, not even the journal: the store no longer takes anything.
const FS_SHUTDOWN_FLAGS_NOLOGFLUSH: u32 = 2;

/// Shuts down the file system that a directory is on: from now on every operation fails.
pub(super) fn shut_down_without_flush(dir: impl AsFd) -> io::Result<()> {
    // SAFETY: the kernel reads one u32 through the pointer and writes nothing.
    let setter = unsafe { Setter::<FS_IOC_SHUTDOWN, u32>::new(FS_SHUTDOWN_FLAGS_NOLOGFLUSH) };
    // SAFETY: the opcode and its argument belong together; the descriptor is borrowed for the call.
    unsafe { ioctl(dir, setter) }
}
