//! A look at an image from outside: no key, no lock, nothing written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::paths::VolumePaths;
use crate::format::{
    Damage, FileSystemState, HeaderCopy, HeaderError, Headers, LIFECYCLE_BLOCK_LEN, LifecycleError, LifecycleRecord,
    SUPERBLOCK_LEN, UnverifiedSuperblock,
};

/// What an image says of itself; none of it is proven.
pub struct Peek {
    pub headers: Result<Headers, HeaderError>,
    /// Copy A and copy B, each for itself.
    pub copies: [Result<UnverifiedSuperblock, Damage>; 2],
    pub lifecycle: Result<Option<LifecycleRecord>, LifecycleError>,
    pub len_bytes: u64,
}

/// Whether the header says that the volume carries a file system.
pub fn has_file_system(paths: &VolumePaths) -> bool {
    let headers = peek(&paths.backing()).ok().and_then(|peek| peek.headers.ok());
    let state = headers.map(|headers| headers.newest().unproven().file_system);
    matches!(state, Some(FileSystemState::Formatted(_)))
}

/// `path`: an image file or a block device.
pub fn peek(path: &Path) -> io::Result<Peek> {
    let file = File::open(path)?;
    let len_bytes = io::Seek::seek(&mut &file, io::SeekFrom::End(0))?;
    let read = |offset: u64, len: usize| {
        let mut bytes = vec![0; len];
        // A copy that cannot be read is like one that is damaged.
        file.read_exact_at(&mut bytes, offset).map_or_else(|_| Vec::new(), |()| bytes)
    };
    let [a, b] = HeaderCopy::BOTH.map(|copy| read(copy.superblock_offset(), SUPERBLOCK_LEN));
    let headers = Headers::parse(&a, &b);
    let lifecycle = match &headers {
        Ok(headers) => {
            let [a, b] = HeaderCopy::BOTH.map(|copy| read(copy.lifecycle_offset(), LIFECYCLE_BLOCK_LEN));
            LifecycleRecord::of_copies(&a, &b, headers.newest().volume_id())
        }
        Err(_) => Ok(None),
    };
    let copies = [UnverifiedSuperblock::parse(&a), UnverifiedSuperblock::parse(&b)];
    Ok(Peek { headers, copies, lifecycle, len_bytes })
}
