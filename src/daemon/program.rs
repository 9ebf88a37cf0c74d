//! Which binary a daemon runs, so that after an upgrade the ones that still run the old one can be named.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// A binary: its version, and its file, since two builds of one version are two programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub version: String,
    /// Device and inode; none where /proc does not tell.
    file: Option<(u64, u64)>,
}

impl Program {
    /// The one that runs here, also when its file was replaced since.
    pub fn running() -> Self {
        let file = fs::metadata("/proc/self/exe").ok().map(|file| (file.dev(), file.ino()));
        Self { version: env!("CARGO_PKG_VERSION").to_owned(), file }
    }
}
