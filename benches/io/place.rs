//! Where the ciphertext lies: a directory of its own on the disk or on a tmpfs, empty again at the end.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::arguments::Arguments;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Disk,
    Tmpfs,
}

pub(crate) struct Place {
    pub(crate) kind: Kind,
    dir: TempDir,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Tmpfs => "tmpfs",
        })
    }
}

impl Place {
    pub(crate) fn new(kind: Kind, arguments: &Arguments) -> Self {
        let parent = match kind {
            Kind::Disk => &arguments.disk,
            Kind::Tmpfs => &arguments.tmpfs,
        };
        const TMPFS_MAGIC: i64 = 0x0102_1994;
        let is_tmpfs = rustix::fs::statfs(parent).unwrap().f_type == TMPFS_MAGIC;
        assert!(is_tmpfs == (kind == Kind::Tmpfs), "{}: not what --{kind} asks for", parent.display());
        // The databases' users pass through.
        let passable = fs::Permissions::from_mode(0o711);
        let dir = tempfile::Builder::new().prefix("envol-bench-").permissions(passable).tempdir_in(parent).unwrap();
        Self { kind, dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// What was written before is not to be paid for by who comes next. Without `keep_caches`, nothing is read from memory either.
pub(crate) fn settle(keep_caches: bool) {
    rustix::fs::sync();
    if !keep_caches {
        fs::write(Path::new("/proc/sys/vm/drop_caches"), "3").unwrap();
    }
}
