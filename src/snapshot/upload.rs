//! Packs on their way to the store: filled by the threads that seal, uploaded a few at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::format::SnapshotId;
use crate::secret::SealingKey;

use super::bandwidth::Bandwidth;
use super::entry::{ChunkEntry, Location};
use super::{SnapshotError, SnapshotStore, UploadMarker, marker, pack};

/// A pack is closed once it has this. With those that are uploaded at a time it bounds the memory of an upload.
pub(super) const PACK_LEN: usize = 32 << 20;
/// What the last blob may add.
const BEYOND: usize = 1 << 20;
const UPLOADS_AT_A_TIME: u32 = 3;
/// How often whoever waits looks whether it was called off.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// For each earlier attempt: packs that it may still have had on their way when it was called off or killed, and that nobody
/// saw yet.
const NUMBERS_SKIPPED: u32 = 8;
const RENEW_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// What an upload has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Plaintext that was sealed, or for a copy taken over.
    pub sealed_bytes: u64,
    /// What was stored, as it was stored.
    pub stored_bytes: u64,
    pub objects: u64,
}

pub(super) struct Upload {
    store: Arc<SnapshotStore>,
    id: Arc<SnapshotId>,
    key: SealingKey,
    cancelled: Arc<AtomicBool>,
    buffers: Buffers,
    filling: Mutex<Filling>,
    shared: Arc<Shared>,
    under_way: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
    sealed_bytes: AtomicU64,
}

/// The memory of packs, used again and again: pages that are new cost more than what is copied into them.
#[derive(Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// One of them, until it is dropped.
struct PackBuffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    fn take(&self) -> PackBuffer {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = used.unwrap_or_else(|| Vec::with_capacity(PACK_LEN + BEYOND));
        PackBuffer { bytes, home: self.clone() }
    }
}

impl AsRef<[u8]> for PackBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PackBuffer {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

struct Filling {
    number: u32,
    blobs: PackBuffer,
    entries: Vec<ChunkEntry>,
}

/// With the tasks that upload.
struct Shared {
    objects: Arc<dyn ObjectStore>,
    bandwidth: Option<Arc<Bandwidth>>,
    marker: tokio::sync::Mutex<UploadMarker>,
    failure: Mutex<Option<SnapshotError>>,
    stored_bytes: AtomicU64,
    stored_objects: AtomicU64,
}

impl Upload {
    /// `last`: the highest number of a pack that an earlier attempt has stored.
    pub(super) fn new(
        store: Arc<SnapshotStore>,
        key: SealingKey,
        marker: UploadMarker,
        last: Option<u32>,
        cancelled: Arc<AtomicBool>,
    ) -> Self {
        let shared = Shared {
            objects: Arc::clone(&store.objects),
            bandwidth: store.bandwidth.clone(),
            failure: Mutex::default(),
            stored_bytes: AtomicU64::new(0),
            stored_objects: AtomicU64::new(0),
            marker: tokio::sync::Mutex::new(marker.clone()),
        };
        let skipped = marker.earlier_attempts.saturating_mul(NUMBERS_SKIPPED);
        let first = last.unwrap_or(0).saturating_add(1).saturating_add(skipped);
        let buffers = Buffers::default();
        Self {
            store,
            id: Arc::new(marker.draft.snapshot_id),
            key,
            cancelled,
            filling: Mutex::new(Filling::new(first, buffers.take())),
            buffers,
            shared: Arc::new(shared),
            under_way: Arc::new(Semaphore::new(UPLOADS_AT_A_TIME as usize)),
            tasks: Mutex::default(),
            sealed_bytes: AtomicU64::new(0),
        }
    }

    /// # Errors
    /// What became of earlier packs, or [`SnapshotError::Cancelled`].
    pub(super) fn check(&self) -> Result<(), SnapshotError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(SnapshotError::Cancelled);
        }
        self.shared.failure().map_or(Ok(()), Err)
    }

    /// Where the chunk will lie; waits while too much is under way.
    pub(super) fn append_chunk(
        &self,
        sealed: &[u8],
        entry: impl FnOnce(Location) -> ChunkEntry,
    ) -> Result<ChunkEntry, SnapshotError> {
        let mut filling = self.room()?;
        let entry = entry(filling.append(&self.id, sealed));
        filling.entries.push(entry.clone());
        self.sealed_bytes.fetch_add(entry.data_len() as u64, Ordering::Relaxed);
        Ok(entry)
    }

    pub(super) fn append_leaf(&self, sealed: &[u8]) -> Result<Location, SnapshotError> {
        Ok(self.room()?.append(&self.id, sealed))
    }

    /// Uploads what is left, and waits until all is stored.
    pub(super) fn finish(&self) -> Result<(), SnapshotError> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if !filling.blobs.bytes.is_empty() {
            self.send(&mut filling)?;
        }
        drop(self.wait_for(UPLOADS_AT_A_TIME)?);
        self.check()
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            sealed_bytes: self.sealed_bytes.load(Ordering::Relaxed),
            stored_bytes: self.shared.stored_bytes.load(Ordering::Relaxed),
            objects: self.shared.stored_objects.load(Ordering::Relaxed),
        }
    }

    pub(super) fn id(&self) -> &Arc<SnapshotId> {
        &self.id
    }

    pub(super) fn store(&self) -> &Arc<SnapshotStore> {
        &self.store
    }

    pub(super) fn key(&self) -> &SealingKey {
        &self.key
    }

    /// The pack that is being filled, with room for one more blob. Whoever finds it full sends it off, and all others
    /// wait for that: they are what must not run ahead.
    fn room(&self) -> Result<std::sync::MutexGuard<'_, Filling>, SnapshotError> {
        self.check()?;
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        if filling.blobs.bytes.len() >= PACK_LEN {
            self.send(&mut filling)?;
        }
        Ok(filling)
    }

    fn send(&self, filling: &mut Filling) -> Result<(), SnapshotError> {
        let permit = self.wait_for(1)?;
        let number = filling.number;
        let tail = pack::encode_tail(&self.id, number, &filling.entries, &self.key)?;
        let next = number.checked_add(1).ok_or_else(|| SnapshotError::Refused("too many packs".to_owned()))?;
        let Filling { blobs, .. } = std::mem::replace(filling, Filling::new(next, self.buffers.take()));
        let (shared, tail) = (Arc::clone(&self.shared), Bytes::from(tail));
        let name = pack::object_name(&self.id, number);
        let task = async move {
            if let Err(error) = shared.store_pack(&name, blobs, tail).await {
                shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
            drop(permit);
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, self.store.runtime().handle());
        Ok(())
    }

    fn wait_for(&self, permits: u32) -> Result<OwnedSemaphorePermit, SnapshotError> {
        self.store.block_on(async {
            loop {
                self.check()?;
                let acquire = Arc::clone(&self.under_way).acquire_many_owned(permits);
                if let Ok(permit) = tokio::time::timeout(LOOK, acquire).await {
                    return Ok(permit.expect("the semaphore is never closed"));
                }
            }
        })
    }
}

impl Filling {
    fn new(number: u32, blobs: PackBuffer) -> Self {
        Self { number, blobs, entries: Vec::with_capacity(80) }
    }

    fn append(&mut self, origin: &Arc<SnapshotId>, sealed: &[u8]) -> Location {
        let in_pack = |len: usize| u32::try_from(len).expect("a pack is far smaller than 4 GiB");
        let (offset, len) = (in_pack(self.blobs.bytes.len()), in_pack(sealed.len()));
        self.blobs.bytes.extend_from_slice(sealed);
        Location { origin: Arc::clone(origin), pack: self.number, offset, len }
    }
}

impl Shared {
    fn failure(&self) -> Option<SnapshotError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn store_pack(&self, name: &str, blobs: PackBuffer, tail: Bytes) -> Result<(), SnapshotError> {
        let payload = PutPayload::from_iter([Bytes::from_owner(blobs), tail.clone()]);
        let len = payload.content_length() as u64;
        if let Some(bandwidth) = &self.bandwidth {
            bandwidth.pass(len).await;
        }
        let path = ObjectPath::from(name);
        match self.objects.put_opts(&path, payload, PutMode::Create.into()).await {
            Ok(_) => {}
            // Ours, if it was sent twice: an index is sealed with random bytes, and there is no second one like it.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                let there = self.objects.get_range(&path, len - tail.len() as u64..len).await;
                let there = there.map_err(|source| SnapshotError::store(format!("read {name}"), source))?;
                if there != tail {
                    let problem = format!("{name} is there already: somebody else makes this snapshot");
                    return Err(SnapshotError::Refused(problem));
                }
            }
            Err(source) => return Err(SnapshotError::store(format!("store {name}"), source)),
        }
        self.stored_bytes.fetch_add(len, Ordering::Relaxed);
        self.stored_objects.fetch_add(1, Ordering::Relaxed);
        self.renew().await
    }

    /// Says that the upload still goes on. A marker that somebody took away is not put back: the packs may be gone too.
    async fn renew(&self) -> Result<(), SnapshotError> {
        let mut marker = self.marker.lock().await;
        let now = Timestamp::now();
        if now.duration_since(marker.renewed_at) < RENEW_AFTER {
            return Ok(());
        }
        let name = marker::object_name(marker.snapshot_id());
        let path = ObjectPath::from(name.as_str());
        let action = |source| SnapshotError::store(format!("renew {name}"), source);
        match self.objects.head(&path).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => return Err(marker_gone(marker.snapshot_id())),
            Err(source) => return Err(action(source)),
        }
        marker.renewed_at = now;
        let bytes = serde_json::to_vec(&*marker).expect("a marker is plain JSON");
        self.objects.put(&path, bytes.into()).await.map(drop).map_err(action)
    }
}

pub(super) fn marker_gone(id: &SnapshotId) -> SnapshotError {
    SnapshotError::Refused(format!("the upload of snapshot {id} was cleared away while it ran; start it again"))
}
