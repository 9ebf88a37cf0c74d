//! The two inodes: the directory and the image in it.

use std::time::{Duration, SystemTime};

use fuser::{FileAttr, FileType, INodeNo};

pub(super) const DIRECTORY: INodeNo = INodeNo::ROOT;
pub(super) const IMAGE: INodeNo = INodeNo(2);

/// Nothing about the two inodes ever changes while they are mounted, but for the image's size, which the kernel is then made to take anew.
pub(super) const TTL: Duration = Duration::from_secs(86_400);

pub(super) struct Attributes {
    uid: u32,
    gid: u32,
    mounted_at: SystemTime,
}

impl Attributes {
    pub(super) fn new() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mounted_at: SystemTime::now(),
        }
    }

    /// While the image has so many bytes.
    pub(super) fn of(&self, inode: INodeNo, size_bytes: u64) -> Option<FileAttr> {
        match inode {
            DIRECTORY => Some(self.attr(DIRECTORY, FileType::Directory, 0o700, 0)),
            IMAGE => Some(self.attr(IMAGE, FileType::RegularFile, 0o600, size_bytes)),
            _ => None,
        }
    }

    fn attr(&self, ino: INodeNo, kind: FileType, perm: u16, size: u64) -> FileAttr {
        FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: self.mounted_at,
            mtime: self.mounted_at,
            ctime: self.mounted_at,
            crtime: self.mounted_at,
            kind,
            perm,
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}
