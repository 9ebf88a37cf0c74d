//! Which chunks changed since a snapshot: two bitmaps in a mapped file, so that a bit costs no system call and outlives
//! the process.
//!
//! A bit is set before the data is written. The kernel keeps what was set when the process is killed, so that a file is
//! trusted under the same boot id; a power cut may lose any of it, so that after a boot only a file is trusted that was
//! closed in good order. What cannot be trusted starts anew, without a base: the next snapshot then looks at everything.

mod bitmaps;
mod header;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};

use super::BLOCKS_PER_CHUNK;
use crate::format::{BLOCK_SIZE, MAX_SIZE, SnapshotId};
use bitmaps::{Bitmaps, WORDS_PER_PAGE};
use header::{HEADER_LEN, Header};

/// What changed since the base, and, while a snapshot is taken, also what has changed since its point in time.
///
/// At most one process has the file open: the one that holds the image.
pub struct ChangeMap {
    file: File,
    /// Changed with the header locked, and never to less.
    chunk_count: AtomicU64,
    bitmaps: Bitmaps,
    /// Index of the bitmap that is complete since the base; with [`EPOCH`] the other one is marked, too.
    state: AtomicUsize,
    /// The header says clean, so that it has to be taken back before the next bit is set.
    closed: AtomicBool,
    /// As it is in the file. Locked while the file's header or `state` changes.
    header: Mutex<Header>,
}

const EPOCH: usize = 2;

/// The bitmaps as `state` has them.
struct Roles {
    current: usize,
    /// Of the epoch that runs.
    next: Option<usize>,
}

impl From<usize> for Roles {
    fn from(state: usize) -> Self {
        let current = state & 1;
        Self { current, next: (state & EPOCH != 0).then_some(current ^ 1) }
    }
}

impl ChangeMap {
    /// Opens the file, or makes it. `header_sequence` is that of the image's header: if the header is not the one that the
    /// file knows, the image was elsewhere in between. Starts without a base wherever the file cannot be trusted.
    ///
    /// # Errors
    /// The file cannot be made, has no room on its disk, or cannot be made durable. It is removed then: who goes on without
    /// it changes chunks of which it would not know.
    pub fn open(path: &Path, chunk_count: u64, header_sequence: u64, boot_id: [u8; 16]) -> io::Result<Self> {
        Self::open_or_leave(path, chunk_count, header_sequence, boot_id).inspect_err(|_| {
            // The first error is the one to report.
            let _ = fs::remove_file(path);
        })
    }

    fn open_or_leave(path: &Path, chunk_count: u64, header_sequence: u64, boot_id: [u8; 16]) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path)?;
        let pages = bitmap_pages(chunk_count)?;
        let len_bytes = HEADER_LEN + bitmaps::len_bytes(pages);

        // Says whether a write-back has failed since: then the cache may have forgotten bits.
        let written_back = file.sync_data().is_ok();
        let trusted = Header::read(&file).filter(|header| {
            written_back
                && file.metadata().is_ok_and(|metadata| metadata.len() >= len_bytes)
                && header.chunk_count == chunk_count
                && header.header_sequence == header_sequence
                && (header.clean || header.boot_id == boot_id)
        });
        let header = match trusted {
            Some(header) => Header { clean: false, boot_id, ..header },
            None => {
                // All zeros, and nobody's.
                file.set_len(0)?;
                Header { clean: false, boot_id, header_sequence, chunk_count, current: 0, base: None }
            }
        };
        // It may be longer, by room for a growth that did not come about.
        file.set_len(len_bytes)?;
        // A hole would be filled when it is touched, which on a full disk ends the process.
        fallocate(&file, FallocateFlags::empty(), 0, len_bytes)?;
        // Durably not clean, before the first bit.
        header.write(&file)?;
        file.sync_all()?;

        let bitmaps = Bitmaps::map(&file, HEADER_LEN, pages, bitmap_pages(MAX_CHUNKS)?)?;
        let current = usize::from(header.current);
        // What an epoch left that ended with its process.
        clear(bitmaps.words(current ^ 1));
        let (state, closed) = (AtomicUsize::new(current), AtomicBool::new(false));
        let chunk_count = AtomicU64::new(chunk_count);
        Ok(Self { file, chunk_count, bitmaps, state, closed, header: Mutex::new(header) })
    }

    pub fn chunk_count(&self) -> u64 {
        self.chunk_count.load(Ordering::Acquire)
    }

    /// Makes room for the bits of so many chunks. Nothing else changes: [`ChangeMap::grow`] does that.
    ///
    /// # Errors
    /// There is no room on the disk.
    pub fn reserve(&self, chunk_count: u64) -> io::Result<()> {
        let _header = self.lock_header();
        let pages = bitmap_pages(chunk_count)?;
        fallocate(&self.file, FallocateFlags::empty(), 0, HEADER_LEN + bitmaps::len_bytes(pages))?;
        self.bitmaps.grow(pages);
        Ok(())
    }

    /// The volume has so many chunks from now on, for which there is room, and its image a new header. None of the new ones has
    /// changed.
    ///
    /// # Errors
    /// As [`ChangeMap::follow_header`]; while it is open it knows the new chunks all the same.
    pub fn grow(&self, chunk_count: u64, header_sequence: u64) -> io::Result<()> {
        let mut header = self.lock_header();
        self.chunk_count.fetch_max(chunk_count, Ordering::AcqRel);
        self.take_back_clean(&mut header)?;
        self.replace(&mut header, |header| Header { chunk_count, header_sequence, ..header })
    }

    /// The snapshot since which the bits are complete. None: nothing is known.
    pub fn base(&self) -> Option<SnapshotId> {
        self.lock_header().base.clone()
    }

    /// Call before the data of the chunk changes. In the usual case, a chunk that has changed before, it looks at one word.
    pub fn mark(&self, chunk: u64) {
        let roles = Roles::from(self.state.load(Ordering::Acquire));
        let (word, mask) = position(chunk);
        // Set last of the two, so that it stands for both.
        let last = self.bitmaps.word(roles.next.unwrap_or(roles.current), word);
        if last.load(Ordering::Acquire) & mask != 0 {
            return;
        }
        if self.closed.load(Ordering::Acquire)
            && let Err(error) = self.take_back_clean(&mut self.lock_header())
        {
            tracing::error!("the change map cannot be opened again after it was closed: {error}");
        }
        if roles.next.is_some() {
            self.bitmaps.word(roles.current, word).fetch_or(mask, Ordering::Release);
        }
        last.fetch_or(mask, Ordering::Release);
    }

    /// Call at the barrier, where no [`ChangeMap::mark`] is under way. Returns the bits so far, chunk `i` in bit `i % 64` of
    /// word `i / 64`; from now on both bitmaps are marked.
    pub fn begin_epoch(&self) -> Vec<u64> {
        let header = self.lock_header();
        self.drop_epoch(&header);
        let current = usize::from(header.current);
        self.state.store(current | EPOCH, Ordering::Release);
        let count = usize::try_from(self.chunk_count().div_ceil(64)).expect("the map is in memory");
        self.bitmaps.words(current).take(count).map(|word| word.load(Ordering::Acquire)).collect()
    }

    /// The snapshot of the epoch is committed: what changed since [`ChangeMap::begin_epoch`] is what changed since it.
    ///
    /// Not durable, which it need not be: after a power cut only a file is trusted that was closed since.
    ///
    /// # Errors
    /// No epoch runs, or the header cannot be written; the epoch then still runs.
    pub fn commit_epoch(&self, base: &SnapshotId) -> io::Result<()> {
        let mut header = self.lock_header();
        let Some(next) = Roles::from(self.state.load(Ordering::Acquire)).next else {
            return Err(io::Error::other("no epoch of the change map runs"));
        };
        self.take_back_clean(&mut header)?;
        let current = u8::try_from(next).expect("0 or 1");
        self.replace(&mut header, |header| Header { base: Some(base.clone()), current, ..header })?;
        self.state.store(next, Ordering::Release);
        clear(self.bitmaps.words(next ^ 1));
        Ok(())
    }

    /// There will be no snapshot of this epoch: everything stays as it was, with all that changed meanwhile. Does nothing
    /// if no epoch runs.
    pub fn abandon_epoch(&self) {
        self.drop_epoch(&self.lock_header());
    }

    /// The image has a new header from now on.
    ///
    /// # Errors
    /// It cannot be written; the file is not trusted any more when it is opened next.
    pub fn follow_header(&self, header_sequence: u64) -> io::Result<()> {
        let mut header = self.lock_header();
        self.take_back_clean(&mut header)?;
        self.replace(&mut header, |header| Header { header_sequence, ..header })
    }

    /// Call after the last write: from now on the file is trusted after a boot, too.
    ///
    /// # Errors
    /// It cannot be made durable, or some of it could not be at some time since it was opened.
    pub fn close(&self) -> io::Result<()> {
        let mut header = self.lock_header();
        // The bits first: clean promises that they are there.
        self.file.sync_data()?;
        self.replace(&mut header, |header| Header { clean: true, ..header })?;
        self.closed.store(true, Ordering::Release);
        self.file.sync_data().inspect_err(|_| {
            let _ = self.take_back_clean(&mut header);
        })
    }

    fn take_back_clean(&self, header: &mut Header) -> io::Result<()> {
        if header.clean {
            self.replace(header, |header| Header { clean: false, ..header })?;
            self.file.sync_data()?;
            self.closed.store(false, Ordering::Release);
        }
        Ok(())
    }

    fn replace(&self, header: &mut Header, change: impl FnOnce(Header) -> Header) -> io::Result<()> {
        let new = change(header.clone());
        if let Err(error) = new.write(&self.file) {
            // Some of it may be there.
            header.write(&self.file)?;
            return Err(error);
        }
        *header = new;
        Ok(())
    }

    /// A mark that saw the epoch may set a bit in the cleared bitmap yet. That is one chunk more in the next epoch, and never
    /// one less.
    fn drop_epoch(&self, _header: &MutexGuard<'_, Header>) {
        let state = self.state.load(Ordering::Acquire);
        if let Some(next) = Roles::from(state).next {
            self.state.store(state & !EPOCH, Ordering::Release);
            clear(self.bitmaps.words(next));
        }
    }

    fn lock_header(&self) -> MutexGuard<'_, Header> {
        self.header.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the largest volume.
const MAX_CHUNKS: u64 = MAX_SIZE / (BLOCKS_PER_CHUNK * BLOCK_SIZE);

/// Pages of one bitmap.
fn bitmap_pages(chunk_count: u64) -> io::Result<usize> {
    let pages = chunk_count.div_ceil(WORDS_PER_PAGE as u64 * 64).max(1);
    usize::try_from(pages).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))
}

fn position(chunk: u64) -> (usize, u64) {
    (usize::try_from(chunk / 64).expect("the map is in memory"), 1 << (chunk % 64))
}

fn clear<'a>(words: impl Iterator<Item = &'a AtomicU64>) {
    for word in words {
        // Zeros are left alone: a page that is not touched is not written back.
        if word.load(Ordering::Relaxed) != 0 {
            word.store(0, Ordering::Relaxed);
        }
    }
}
