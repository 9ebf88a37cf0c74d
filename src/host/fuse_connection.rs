//! The kernel's side of a FUSE mount, reached without asking the mount itself.
//!
//! The control file system is described in the kernel's Documentation/filesystems/fuse/fuse.rst.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;

use super::DeviceNumber;
use super::error::{Context, HostError};
use super::mounts::{self, Mounts};
use super::tools::Tool;

const CONTROL_DIRECTORY: &str = "/sys/fs/fuse/connections";

const DEADLINE: Duration = Duration::from_secs(10);

/// A FUSE connection. Its id, the minor number of its device, is free for another one as soon as it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FuseConnection {
    device: DeviceNumber,
    mount_point: PathBuf,
}

impl FuseConnection {
    /// The connection of the FUSE mount at this mount point, given as the kernel writes it (absolute, no symbolic links).
    /// None if no FUSE file system is mounted there.
    ///
    /// # Errors
    /// [`HostError::Io`] if `/proc` is not there.
    pub fn at(mount_point: &Path) -> Result<Option<Self>, HostError> {
        let mounts = Mounts::read()?;
        let mount = mounts.at(mount_point).filter(|mount| is_fuse(&mount.file_system));
        Ok(mount.map(|mount| Self { device: mount.device, mount_point: mount.mount_point.clone() }))
    }

    /// The name of its directory in the control file system.
    #[must_use]
    pub fn id(&self) -> u64 {
        connection_id(self.device)
    }

    #[must_use]
    pub fn device(&self) -> DeviceNumber {
        self.device
    }

    /// A connection that was known before, at whatever is left of its mount.
    #[must_use]
    pub fn known(device: DeviceNumber, mount_point: &Path) -> Self {
        Self { device, mount_point: mount_point.to_owned() }
    }

    /// Ends the connection: every request that waits or comes gets an error, whether the daemon answers or not.
    /// Nothing to do if it has ended already.
    ///
    /// # Errors
    /// [`HostError::Io`] if the control file system is not there and cannot be mounted.
    pub fn abort(&self) -> Result<(), HostError> {
        self.control("abort", |file| fs::write(file, "1")).map(drop)
    }

    /// How many requests wait for an answer. None if the connection has ended.
    ///
    /// # Errors
    /// As [`FuseConnection::abort`].
    pub fn waiting(&self) -> Result<Option<u64>, HostError> {
        let text = self.control("waiting", fs::read_to_string)?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    /// Takes the mount out of the tree at once, whoever uses it.
    ///
    /// # Errors
    /// [`HostError::Failed`] if it is not mounted; [`HostError::Missing`] without fusermount3 (unprivileged only).
    pub fn unmount(&self) -> Result<(), HostError> {
        if geteuid().is_root() {
            return mounts::unmount_lazily(&self.mount_point);
        }
        let tool = Tool::new("fusermount3", DEADLINE)?.args(["-u", "-z", "--"]);
        tool.arg(&self.mount_point).run().map(drop)
    }

    /// None if there is no such connection any more.
    fn control<T>(&self, file: &str, act: impl Fn(PathBuf) -> std::io::Result<T>) -> Result<Option<T>, HostError> {
        if Mounts::read()?.at(Path::new(CONTROL_DIRECTORY)).is_none() {
            let tool = Tool::new("mount", DEADLINE)?.args(["--internal-only", "-t", "fusectl", "fusectl"]);
            tool.arg(CONTROL_DIRECTORY).run()?;
        }
        let path = Path::new(CONTROL_DIRECTORY).join(self.id().to_string()).join(file);
        match act(path.clone()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some).context(|| format!("cannot use {}", path.display())),
        }
    }
}

fn is_fuse(file_system: &str) -> bool {
    matches!(file_system, "fuse" | "fuseblk") || file_system.starts_with("fuse.") || file_system.starts_with("fuseblk.")
}

/// The kernel prints its own `dev_t`: 12 bits major, 20 bits minor.
fn connection_id(device: DeviceNumber) -> u64 {
    u64::from(device.major) << 20 | u64::from(device.minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_minor_of_an_anonymous_device() {
        assert_eq!(connection_id(DeviceNumber { major: 0, minor: 53 }), 53);
        assert_eq!(connection_id(DeviceNumber { major: 7, minor: 1 }), 7 * 1024 * 1024 + 1);
    }

    #[test]
    fn fuse_is_told_from_its_control_file_system() {
        assert!(is_fuse("fuse") && is_fuse("fuse.envol") && is_fuse("fuseblk"));
        assert!(!is_fuse("fusectl") && !is_fuse("ext4"));
    }

    #[test]
    fn what_is_no_fuse_mount_has_no_connection() {
        assert_eq!(FuseConnection::at(Path::new("/proc")).unwrap(), None);
        assert_eq!(FuseConnection::at(Path::new("/no/such/place")).unwrap(), None);
    }
}
