//! Taking a snapshot of a volume that is served: a barrier, then chunk by chunk what the volume held at that moment, while it
//! goes on being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use jiff::Timestamp;

use super::copy_before_write::{Copied, CopyBeforeWrite, Worker};
use super::spill::Spill;
use super::{ContentHash, SnapshotError, SnapshotHeader, SnapshotWriter};
use crate::secret::ChangeDetectionKey;
use crate::volume::{CHUNK_SIZE, Volume, written_bytes};

/// One alone does not keep a disk busy, and two take half of what a database has on two processors, however low their
/// priority: it waits for its disk most of the time, and then finds them running.
const WORKERS: [Worker; 2] = [Worker::Steady, Worker::Helping];

/// What is taken, and what it may use.
pub struct Taking<'a> {
    pub volume: &'a Arc<Volume>,
    pub change_detection: &'a ChangeDetectionKey,
    pub spill_dir: &'a std::path::Path,
    pub spill_limit_bytes: u64,
    pub progress: &'a TakingProgress,
    pub cancelled: &'a Arc<AtomicBool>,
}

/// How far it is; read by others while it goes on.
#[derive(Debug, Default)]
pub struct TakingProgress {
    pub chunks_wanted: AtomicU64,
    pub chunks_done: AtomicU64,
    /// Of ciphertext, from the store or the spill.
    pub read_bytes: AtomicU64,
}

impl Taking<'_> {
    /// `after_barrier` is called as soon as the moment is held, and says whether the file system was frozen until then. On failure
    /// the volume goes on as if nothing had been, and what was stored is there for the next try.
    ///
    /// # Errors
    /// [`SnapshotError`]; the change map still knows all changes since the last snapshot then.
    pub fn take(
        self,
        mut writer: SnapshotWriter,
        after_barrier: impl FnOnce() -> bool,
    ) -> Result<SnapshotHeader, SnapshotError> {
        let volume = self.volume;
        let hook = Spill::create(self.spill_dir, self.spill_limit_bytes)
            .and_then(|spill| CopyBeforeWrite::new(volume, spill, self.cancelled));
        let hook = Arc::new(hook.map_err(|error| SnapshotError::host("make the spill", error))?);
        let begun = volume.begin_epoch(Arc::clone(&hook) as _, || {
            let size_bytes = volume.size_bytes();
            hook.want(&self.wanted(&writer, size_bytes.div_ceil(CHUNK_SIZE as u64)));
            (Timestamp::now(), size_bytes)
        });
        let epoch = Epoch(volume);
        let frozen = after_barrier();
        let (created_at, size_bytes) = begun.map_err(|error| SnapshotError::Volume(error.to_string()))?;
        writer.shows(created_at, frozen, size_bytes);
        self.progress.chunks_wanted.store(hook.wanted_count(), Ordering::Relaxed);
        let copied = self.copy_all(&hook, &writer);
        drop(epoch);
        copied?;
        let header = writer.finish()?;
        if let Some(changes) = volume.changes()
            && let Err(error) = changes.commit_epoch(header.id())
        {
            tracing::warn!("the next snapshot will read the whole volume: {error}");
        }
        Ok(header)
    }

    /// A bit for each of the first `count` chunks that may differ from the base; all of them where that is not known.
    fn wanted(&self, writer: &SnapshotWriter, count: u64) -> Vec<u64> {
        let words = usize::try_from(count.div_ceil(64)).expect("a volume has at most 2^27 chunks");
        let changed = self.volume.changes().map(|changes| (changes.base(), changes.begin_epoch()));
        match changed {
            Some((Some(base), mut bits)) if writer.base() == Some(&base) => {
                // The volume may just be growing; nothing was written behind its end before this moment.
                bits.resize(words, 0);
                bits
            }
            _ => {
                let mut bits = vec![u64::MAX; words];
                if let Some(last) = bits.last_mut().filter(|_| !count.is_multiple_of(64)) {
                    *last = (1 << (count % 64)) - 1;
                }
                bits
            }
        }
    }

    fn copy_all(&self, hook: &CopyBeforeWrite, writer: &SnapshotWriter) -> Result<(), SnapshotError> {
        thread::scope(|scope| {
            for worker in WORKERS {
                scope.spawn(move || {
                    if let Err(error) = self.work(worker, hook, writer) {
                        hook.fail(error);
                    }
                });
            }
        });
        hook.failure().map_or(Ok(()), Err)
    }

    fn work(&self, worker: Worker, hook: &CopyBeforeWrite, writer: &SnapshotWriter) -> Result<(), SnapshotError> {
        let mut ciphertext = vec![0; CHUNK_SIZE];
        let mut plaintext = zeroize::Zeroizing::new(vec![0; CHUNK_SIZE]);
        while let Some(Copied { chunk, written }) = self.next(worker, hook, &mut ciphertext)? {
            let began = Instant::now();
            self.store(writer, chunk, written, &ciphertext, &mut plaintext)?;
            hook.rest_as_long_as(began.elapsed());
            self.progress.chunks_done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn next(
        &self,
        worker: Worker,
        hook: &CopyBeforeWrite,
        ciphertext: &mut [u8],
    ) -> Result<Option<Copied>, SnapshotError> {
        if self.cancelled.load(Ordering::Acquire) {
            return Err(SnapshotError::Cancelled);
        }
        hook.next(worker, self.volume, ciphertext)
    }

    fn store(
        &self,
        writer: &SnapshotWriter,
        chunk: u64,
        written: u128,
        ciphertext: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), SnapshotError> {
        let len = written_bytes(written);
        self.progress.read_bytes.fetch_add(len as u64, Ordering::Relaxed);
        if len == 0 {
            return writer.hole(chunk);
        }
        let hash = ContentHash(self.change_detection.hash(&[&written.to_le_bytes(), &ciphertext[..len]]));
        if writer.known(chunk)? == Some(hash) {
            return writer.keep(chunk);
        }
        let opened = self.volume.open_chunk(chunk, written, &ciphertext[..len], &mut plaintext[..len]);
        opened.map_err(|error| SnapshotError::Volume(error.to_string()))?;
        writer.put(chunk, hash, written, &plaintext[..len])
    }
}

/// Takes the hook away, however it ends; what changed since the barrier counts for the next snapshot, and what changed before as
/// well until this one is committed.
struct Epoch<'a>(&'a Volume);

impl Drop for Epoch<'_> {
    fn drop(&mut self) {
        self.0.end_epoch();
    }
}
