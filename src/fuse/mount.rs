//! Opens a FUSE connection and puts it at a mount point. fuser's own mounting is left alone: it would also unmount,
//! and ours is an order of steps that somebody else decides.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::mount::MountFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg, socketpair,
};

/// `source` is what `mount` and `/proc/mounts` show; it must not contain a comma.
pub(super) fn mount(mount_point: &Path, source: &str) -> io::Result<OwnedFd> {
    if source.contains([',', '\\', '\n']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the source of a FUSE mount holds a comma"));
    }
    if rustix::process::geteuid().is_root() {
        mount_directly(mount_point, source)
    } else {
        mount_by_fusermount(mount_point, source)
    }
}

fn mount_directly(mount_point: &Path, source: &str) -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/fuse")?;
    let options = format!("fd={},rootmode=40700,user_id=0,group_id=0", device.as_raw_fd());
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOATIME;
    rustix::mount::mount(source, mount_point, "fuse.envol", flags, Some(CString::new(options)?.as_c_str()))?;
    Ok(device.into())
}

/// fusermount3 is set-uid root: it mounts, and hands the connection back over a socket that it is given by number.
fn mount_by_fusermount(mount_point: &Path, source: &str) -> io::Result<OwnedFd> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
    let output = Command::new("fusermount3")
        .arg("-o")
        .arg(format!("nosuid,nodev,noexec,noatime,fsname={source},subtype=envol"))
        .arg("--")
        .arg(mount_point)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .output()?;
    drop(theirs);
    if !output.status.success() {
        return Err(io::Error::other(format!("fusermount3: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    receive_fd(&ours)
}

fn receive_fd(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    Err(io::Error::other("fusermount3 mounted, and handed no connection back"))
}
