//! Why an image could not be opened or made, told apart by what to do next.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} is in use by another process", path.display())]
    Busy { path: PathBuf },

    #[error("{} is neither a regular file nor a block device", path.display())]
    Unsuitable { path: PathBuf },

    #[error("{} already holds data at byte {offset}; name another file, or remove this one", path.display())]
    NotEmpty { path: PathBuf, offset: u64 },

    #[error(
        "{} has {len_bytes} bytes, and the image needs {needed_bytes}; use a larger device or a smaller volume",
        path.display()
    )]
    TooSmall { path: PathBuf, len_bytes: u64, needed_bytes: u64 },

    #[error(
        "the file system of {} does not take a file of {len_bytes} bytes (ext4 ends a file below 16 TiB); \
         put the image on XFS or on a block device, or use a smaller volume",
        path.display()
    )]
    FileTooLarge { path: PathBuf, len_bytes: u64 },

    #[error("no space left on the file system of {}; free some, or put the image elsewhere", path.display())]
    NoSpace { path: PathBuf },

    #[error("the file system of {} has no way past the page cache; attach it with --cache writeback", path.display())]
    NoDirectIo { path: PathBuf },

    #[error("{}: cannot {action}: {source}", path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
}
