//! An image in a regular file or on a block device, opened by one process at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, FallocateFlags, FlockOperation, fadvise, fallocate, flock};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::header_file::{HeaderFile, reopen};
use super::{ALIGNMENT, Store, StoreError, Transfer};
use queue::Queue;

/// Holds the image exclusively until it is dropped: flock(2) on the image itself and, for a block device, O_EXCL, which
/// also keeps mounts and other openers with O_EXCL away.
pub struct FileStore {
    /// On the way past the page cache, where the kernel has one to give.
    queue: Option<Queue>,
    /// The way past the page cache, for what is aligned.
    direct: Option<File>,
    data: File,
    header: HeaderFile,
    /// Whether a read would wait; of tmpfs, for one, which has all in memory.
    cannot_tell: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    BlockDevice,
}

impl FileStore {
    /// Opens an existing image and drops what the kernel has cached of it: a page whose write-back failed would
    /// otherwise be believed although the disk never got it. Fails if such a failure has not been reported to anybody yet.
    ///
    /// Symbolic links are followed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let kind = Kind::of(path, &fs::metadata(path).map_err(|error| io_error(path, "open it", error))?)?;
        let data = open_locked(path, kind)?;
        Self::from_locked(path, data)
    }

    pub(super) fn from_locked(path: &Path, data: File) -> Result<Self, StoreError> {
        data.sync_data().map_err(|error| io_error(path, "write back what an earlier process wrote", error))?;
        fadvise(&data, 0, None, Advice::DontNeed)
            .map_err(|error| io_error(path, "drop its cached pages", error.into()))?;
        // Whoever reads through this knows better than the kernel what comes next, and what is read ahead lies in large
        // folios, in which a write of 4 KiB costs several times as much.
        let _ = fadvise(&data, 0, None, Advice::Random);
        let header = HeaderFile::of(&data).map_err(|error| io_error(path, "open it for its header", error))?;
        Ok(Self { queue: None, direct: None, data, header, cannot_tell: AtomicBool::new(false) })
    }
}

impl FileStore {
    /// From now on what is aligned, in the image and in memory, goes past the page cache (`O_DIRECT`, see open(2)).
    ///
    /// The rest goes through it: the kernel keeps both ways consistent as long as nobody uses them at once for the same range,
    /// which is the caller's duty anyway.
    ///
    /// # Errors
    /// [`StoreError::NoDirectIo`]
    pub fn bypass_cache(&mut self, path: &Path) -> Result<(), StoreError> {
        let direct = reopen(&self.data, libc::O_DIRECT).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => StoreError::NoDirectIo { path: path.to_owned() },
            _ => io_error(path, "open it for direct I/O", error),
        })?;
        // Without it each transfer has somebody who waits for it.
        let refused = |error: &io::Error| {
            tracing::info!(
                "no asynchronous I/O ({error}), so that many requests at once are slower; if the host has given all it has, raise \
                 fs.aio-max-nr and attach again"
            );
        };
        self.queue = Queue::start(&direct).inspect_err(refused).ok();
        self.direct = Some(direct);
        Ok(())
    }

    fn way(&self, offset: u64, bytes: &[u8]) -> &File {
        self.direct.as_ref().filter(|_| is_aligned(offset, bytes)).unwrap_or(&self.data)
    }
}

fn is_aligned(offset: u64, bytes: &[u8]) -> bool {
    [offset, bytes.len() as u64, bytes.as_ptr().addr() as u64].iter().all(|number| number.is_multiple_of(ALIGNMENT))
}

impl Store for FileStore {
    fn len_bytes(&self) -> io::Result<u64> {
        (&self.data).seek(SeekFrom::End(0))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.way(offset, buffer).read_exact_at(buffer, offset)
    }

    fn always_waits(&self) -> bool {
        self.direct.is_some()
    }

    fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    fn begin(&self, transfer: Transfer) {
        let transfer = Box::new(transfer);
        let refused = match &self.queue {
            Some(queue) if is_aligned(transfer.offset, &transfer.bytes[..transfer.len_bytes]) => queue.begin(transfer),
            _ => Err(transfer),
        };
        if let Err(transfer) = refused {
            transfer.carry_out(
                |bytes, offset| self.read_at(offset, bytes),
                |bytes, offset| self.write_at(offset, bytes),
                || self.sync(),
            );
        }
    }

    fn read_at_once(&self, offset: u64, buffer: &mut [u8]) -> io::Result<bool> {
        if self.cannot_tell.load(Ordering::Relaxed) {
            return self.read_at(offset, buffer).map(|()| true);
        }
        let len = buffer.len();
        match preadv2(&self.data, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(read == len),
            Err(Errno::OPNOTSUPP) => {
                self.cannot_tell.store(true, Ordering::Relaxed);
                self.read_at_once(offset, buffer)
            }
            // What is wrong is found by who reads and waits.
            Err(_) => Ok(false),
        }
    }

    fn prefetch(&self, offset: u64, len_bytes: u64) {
        // Whoever reads finds out what is wrong.
        let _ = fadvise(&self.data, offset, std::num::NonZeroU64::new(len_bytes), Advice::WillNeed);
    }

    /// Of pages that are dirty the kernel begins to write the range back, without waiting (mm/fadvise.c).
    fn begin_write_back(&self, offset: u64, len_bytes: u64) {
        let _ = fadvise(&self.data, offset, std::num::NonZeroU64::new(len_bytes), Advice::DontNeed);
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.way(offset, bytes).write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.data.sync_data()
    }

    /// A hole in a file; on a block device the same call zeroes and unmaps. Never BLKDISCARD, after which a device may
    /// answer reads with anything.
    fn punch(&self, offset: u64, len_bytes: u64) -> io::Result<()> {
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.data, mode, offset, len_bytes) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            punched => punched.map_err(Into::into),
        }
    }

    fn grow(&self, path: &Path, len_bytes: u64, zeros: &[Range<u64>]) -> Result<(), StoreError> {
        super::create::grow(path, &self.data, len_bytes, zeros)
    }

    fn read_header(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.header.read_at(offset, buffer)
    }

    fn write_header(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.header.write_at(offset, bytes)
    }
}

impl Kind {
    pub(super) fn of(path: &Path, metadata: &fs::Metadata) -> Result<Self, StoreError> {
        let file_type = metadata.file_type();
        if file_type.is_file() {
            Ok(Self::File)
        } else if file_type.is_block_device() {
            Ok(Self::BlockDevice)
        } else {
            Err(StoreError::Unsuitable { path: path.to_owned() })
        }
    }
}

/// Opens what is there, for this process alone.
pub(super) fn open_locked(path: &Path, kind: Kind) -> Result<File, StoreError> {
    let exclusive = match kind {
        Kind::File => 0,
        // Without O_CREAT, and on block devices only, this is the kernel's own claim (open(2)).
        Kind::BlockDevice => libc::O_EXCL,
    };
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(exclusive).open(path).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EBUSY) => StoreError::Busy { path: path.to_owned() },
                _ => io_error(path, "open it", error),
            }
        })?;
    let found = file.metadata().map_err(|error| io_error(path, "read its type", error))?;
    if Kind::of(path, &found)? != kind {
        return Err(StoreError::Unsuitable { path: path.to_owned() });
    }
    lock(path, &file)?;
    Ok(file)
}

pub(super) fn lock(path: &Path, file: &File) -> Result<(), StoreError> {
    flock(file, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        Errno::WOULDBLOCK => StoreError::Busy { path: path.to_owned() },
        _ => io_error(path, "lock it", error.into()),
    })
}

pub(super) fn io_error(path: &Path, action: &'static str, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => StoreError::NoSpace { path },
        _ => StoreError::Io { path, action, source },
    }
}

mod aio;
mod queue;
#[cfg(test)]
mod tests;
