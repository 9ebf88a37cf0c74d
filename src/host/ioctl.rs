//! The ioctls on a file system as a whole.

#![allow(unsafe_code, reason = "an ioctl is only as typed as its caller says")]

use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// `FS_IOC_SHUTDOWN` of linux/fs.h (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`): `_IOR('X', 125, __u32)`, though it reads its argument.
const FS_IOC_SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// `FIFREEZE` of linux/fs.h: `_IOWR('X', 119, int)`; its argument is not looked at.
const FIFREEZE: Opcode = opcode::read_write::<i32>(b'X', 119);

/// `FITHAW` of linux/fs.h: `_IOWR('X', 120, int)`; its argument is not looked at.
const FITHAW: Opcode = opcode::read_write::<i32>(b'X', 120);

/// `XFS_IOC_FSGEOMETRY_V1` of xfs_fs.h: `_IOR('X', 100, struct xfs_fsop_geom_v1)`.
const XFS_IOC_FSGEOMETRY_V1: Opcode = opcode::read::<XfsGeometry>(b'X', 100);

/// `XFS_IOC_FSGROWFSDATA` of xfs_fs.h: `_IOW('X', 110, struct xfs_growfs_data)`.
const XFS_IOC_FSGROWFSDATA: Opcode = opcode::write::<XfsGrowth>(b'X', 110);

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

/// `struct xfs_fsop_geom_v1`, of which the rest is not looked at.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct XfsGeometry {
    pub block_size_bytes: u32,
    _extents_and_groups: [u32; 6],
    /// How much of the space inodes may take, in percent.
    pub inode_percent: u32,
    pub block_count: u64,
    _rest: [u64; 9],
}

/// `struct xfs_growfs_data`
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct XfsGrowth {
    pub block_count: u64,
    pub inode_percent: u32,
}

const _: () = assert!(size_of::<XfsGeometry>() == 112 && size_of::<XfsGrowth>() == 16, "as in xfs_fs.h");

/// Of the xfs that a directory is on.
pub(super) fn xfs_geometry(dir: impl AsFd) -> std::io::Result<XfsGeometry> {
    // SAFETY: the opcode belongs to a struct of this size, which the kernel fills, and every bit pattern of which is valid.
    let getter = unsafe { Getter::<XFS_IOC_FSGEOMETRY_V1, XfsGeometry>::new() };
    // SAFETY: as below.
    Ok(unsafe { ioctl(dir, getter) }?)
}

/// Grows the xfs that a directory is on, and writes its other superblocks anew, also if it already has that size.
pub(super) fn grow_xfs(dir: impl AsFd, growth: XfsGrowth) -> std::io::Result<()> {
    // SAFETY: the kernel reads one such struct through the pointer and writes nothing.
    let setter = unsafe { Setter::<XFS_IOC_FSGROWFSDATA, XfsGrowth>::new(growth) };
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
