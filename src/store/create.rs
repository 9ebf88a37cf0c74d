//! Making an empty image: the right length, zeros where the format wants zeros, and durable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::file::{Kind, io_error, lock, open_locked};
use super::{FileStore, StoreError};

/// One call to the kernel and one progress report.
const ZERO_STEP: u64 = 8 << 20;
/// File systems, partition tables, RAID and encryption keep their signatures in these two places.
const PROBED_HEAD: u64 = 2 << 20;
const PROBED_TAIL: u64 = 1 << 20;

/// What a new image looks like.
#[derive(Clone, Debug)]
pub struct ImageLayout {
    pub len_bytes: u64,
    /// From offset 0: zero, and allocated, so that a full disk cannot refuse a header write.
    pub header_len_bytes: u64,
    /// What has to read as zeros besides; in a file it may be a hole.
    pub maps: Vec<Range<u64>>,
}

impl FileStore {
    /// Makes an image without a superblock at `path`, open and locked.
    ///
    /// - Nothing there: a sparse file of mode 0600, durable together with its name. Removed again on failure.
    /// - A regular file: accepted if its first 2 MiB and last 1 MiB are zero; made longer if it is too short, and left as
    ///   it is if it is longer. What it has allocated stays allocated.
    /// - A block device at least as long: overwritten without another look. The caller has made sure that it holds nothing
    ///   worth keeping, an envol volume included.
    ///
    /// `progress` hears of the bytes zeroed so far and in all. The header area is zeroed first and durably, so an
    /// interrupted creation leaves no superblock, old or new; starting again is safe.
    pub fn create(path: &Path, layout: &ImageLayout, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, StoreError> {
        match fs::metadata(path) {
            Ok(metadata) => {
                let kind = Kind::of(path, &metadata)?;
                let file = open_locked(path, kind)?;
                prepare(path, &file, kind, layout, progress)?;
                Self::from_locked(path, file)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = create_file(path)?;
                finish_file(path, file, layout, progress).inspect_err(|_| {
                    // The first error is the one to report.
                    let _ = fs::remove_file(path);
                })
            }
            Err(error) => Err(io_error(path, "open it", error)),
        }
    }
}

fn create_file(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| io_error(path, "create it", error))?;
    lock(path, &file)?;
    Ok(file)
}

fn finish_file(
    path: &Path,
    file: File,
    layout: &ImageLayout,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<FileStore, StoreError> {
    prepare(path, &file, Kind::File, layout, progress)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_error(path, "make its name durable", error))?;
    FileStore::from_locked(path, file)
}

fn prepare(
    path: &Path,
    file: &File,
    kind: Kind,
    layout: &ImageLayout,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), StoreError> {
    let len_bytes = len_of(path, file)?;
    if kind == Kind::File {
        check_empty(path, file, len_bytes)?;
    }
    lengthen(path, file, kind, len_bytes, layout.len_bytes)?;
    let maps = there(&layout.maps, len_bytes);
    let total = layout.header_len_bytes + maps.clone().map(|map| map.end - map.start).sum::<u64>();

    // Written, not only reserved: the first write into a reserved extent changes metadata, and waits for the journal.
    write_zeros(file, 0..layout.header_len_bytes)
        .and_then(|()| file.sync_all())
        .map_err(|error| io_error(path, "write its header area", error))?;
    let mut done = layout.header_len_bytes;
    progress(done, total);
    for map in maps {
        zero_step_by_step(path, file, map, |len| {
            done += len;
            progress(done, total);
        })?;
    }
    file.sync_all().map_err(|error| io_error(path, "make it durable", error))
}

/// As [`super::Store::grow`].
pub(super) fn grow(path: &Path, file: &File, len_bytes: u64, zeros: &[Range<u64>]) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(|error| io_error(path, "read its type", error))?;
    let before = len_of(path, file)?;
    lengthen(path, file, Kind::of(path, &metadata)?, before, len_bytes)?;
    for range in there(zeros, before) {
        zero_step_by_step(path, file, range, |_| {})?;
    }
    file.sync_all().map_err(|error| io_error(path, "make it durable", error))
}

fn len_of(path: &Path, mut file: &File) -> Result<u64, StoreError> {
    file.seek(SeekFrom::End(0)).map_err(|error| io_error(path, "find its length", error))
}

fn lengthen(path: &Path, file: &File, kind: Kind, len_bytes: u64, needed_bytes: u64) -> Result<(), StoreError> {
    match kind {
        _ if len_bytes >= needed_bytes => Ok(()),
        Kind::File => set_len(path, file, needed_bytes),
        Kind::BlockDevice => Err(StoreError::TooSmall { path: path.to_owned(), len_bytes, needed_bytes }),
    }
}

/// What lies behind the old end of a file reads as zeros anyway, and stays a hole.
fn there(ranges: &[Range<u64>], len_bytes: u64) -> impl Iterator<Item = Range<u64>> + Clone {
    ranges.iter().map(move |range| range.start..range.end.min(len_bytes)).filter(|range| !range.is_empty())
}

fn zero_step_by_step(path: &Path, file: &File, range: Range<u64>, mut done: impl FnMut(u64)) -> Result<(), StoreError> {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start + ZERO_STEP);
        zero(file, start..end).map_err(|error| io_error(path, "zero its allocation map", error))?;
        done(end - start);
        start = end;
    }
    Ok(())
}

fn set_len(path: &Path, file: &File, len_bytes: u64) -> Result<(), StoreError> {
    file.set_len(len_bytes).map_err(|error| match error.raw_os_error() {
        Some(libc::EFBIG) => StoreError::FileTooLarge { path: path.to_owned(), len_bytes },
        _ => io_error(path, "set its length", error),
    })
}

/// Holes are read too: the kernel answers them from nothing, and there are 3 MiB at most.
fn check_empty(path: &Path, file: &File, len_bytes: u64) -> Result<(), StoreError> {
    let head = 0..len_bytes.min(PROBED_HEAD);
    let tail = len_bytes.saturating_sub(PROBED_TAIL).max(head.end)..len_bytes;
    let mut buffer = vec![0; 64 << 10];
    for range in [head, tail] {
        let mut offset = range.start;
        while offset < range.end {
            let len = usize::try_from(range.end - offset).map_or(buffer.len(), |rest| rest.min(buffer.len()));
            let part = &mut buffer[..len];
            file.read_exact_at(part, offset).map_err(|error| io_error(path, "read it", error))?;
            if let Some(at) = part.iter().position(|&byte| byte != 0) {
                return Err(StoreError::NotEmpty { path: path.to_owned(), offset: offset + at as u64 });
            }
            offset += len as u64;
        }
    }
    Ok(())
}

/// Lets the file system or device do it, and writes zeros where it cannot. What is allocated stays allocated.
fn zero(file: &File, range: Range<u64>) -> io::Result<()> {
    let mode = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, mode, range.start, range.end - range.start) {
        Err(Errno::OPNOTSUPP) => write_zeros(file, range),
        zeroed => zeroed.map_err(Into::into),
    }
}

fn write_zeros(file: &File, range: Range<u64>) -> io::Result<()> {
    let zeros = vec![0; 256 << 10];
    let mut offset = range.start;
    while offset < range.end {
        let len = usize::try_from(range.end - offset).map_or(zeros.len(), |rest| rest.min(zeros.len()));
        file.write_all_at(&zeros[..len], offset)?;
        offset += len as u64;
    }
    Ok(())
}
