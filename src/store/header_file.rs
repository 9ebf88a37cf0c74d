//! The second way into an image, for its header area: every write is durable when it returns.
//!
//! O_DIRECT takes it past the page cache, so that a purge waits neither for dirty pages of the same file nor for memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::{Mutex, PoisonError};

use super::ALIGNMENT;

const BOUNCE_LEN: usize = 64 << 10;

/// Memory that O_DIRECT accepts. Allocated once, so that a purge needs no memory for its last write.
#[repr(C, align(4096))]
struct Bounce([u8; BOUNCE_LEN]);

pub(super) struct HeaderFile {
    file: File,
    bounce: Mutex<Box<Bounce>>,
}

impl HeaderFile {
    pub(super) fn of(data: &File) -> io::Result<Self> {
        let file = match reopen(data, libc::O_DSYNC | libc::O_DIRECT) {
            // A file system without direct I/O, such as tmpfs before Linux 6.6: durable all the same.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => reopen(data, libc::O_DSYNC)?,
            opened => opened?,
        };
        Ok(Self { file, bounce: Mutex::new(Box::new(Bounce([0; BOUNCE_LEN]))) })
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check_aligned(offset, buffer.len())?;
        let mut bounce = self.bounce.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        for part in buffer.chunks_mut(BOUNCE_LEN) {
            let aligned = &mut bounce.0[..part.len()];
            self.file.read_exact_at(aligned, at)?;
            part.copy_from_slice(aligned);
            at += part.len() as u64;
        }
        Ok(())
    }

    pub(super) fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_aligned(offset, bytes.len())?;
        let mut bounce = self.bounce.lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = offset;
        for part in bytes.chunks(BOUNCE_LEN) {
            let aligned = &mut bounce.0[..part.len()];
            aligned.copy_from_slice(part);
            self.file.write_all_at(aligned, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }
}

/// Another open file description of the very inode that `data` has open, whatever its path names by now.
pub(super) fn reopen(data: &File, flags: i32) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", data.as_raw_fd());
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// Asked of every store, so that what works on one works on all.
pub(super) fn check_aligned(offset: u64, len: usize) -> io::Result<()> {
    if offset.is_multiple_of(ALIGNMENT) && (len as u64).is_multiple_of(ALIGNMENT) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("header access of {len} bytes at {offset} is not aligned to {ALIGNMENT}"),
        ))
    }
}
