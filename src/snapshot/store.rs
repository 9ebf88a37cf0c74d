//! An object store with snapshots in it: opened by its location, asked for objects by threads that may wait.

use std::future::Future;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::Runtime;

use super::bandwidth::Bandwidth;
use super::location::Place;
use super::{S3Access, SnapshotError, StoreLocation, s3};

/// Snapshots in one directory or below one prefix. To be used by threads, never by async code.
pub struct SnapshotStore {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) bandwidth: Option<Arc<Bandwidth>>,
    /// Where the objects are files.
    pub(super) directory: Option<PathBuf>,
    /// Taken by drop alone.
    runtime: Option<Runtime>,
}

impl SnapshotStore {
    /// # Errors
    /// The directory cannot be made, or S3 was not given, or cannot be reached as it was given.
    pub fn open(
        location: &StoreLocation,
        s3: Option<&S3Access>,
        bandwidth: Option<NonZeroU64>,
    ) -> Result<Self, SnapshotError> {
        match &location.0 {
            Place::Directory(directory) => {
                let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
                made.map_err(|error| SnapshotError::host("make the directory of snapshots", error))?;
                let local = LocalFileSystem::new_with_prefix(directory)
                    .map_err(|source| SnapshotError::store(format!("open {location}"), source))?;
                let mut store = Self::from_objects(Arc::new(local.with_fsync(true)), bandwidth)?;
                store.directory = Some(directory.clone());
                Ok(store)
            }
            Place::S3 { bucket, prefix } => {
                let access =
                    s3.ok_or_else(|| SnapshotError::Refused(format!("{location} needs credentials for S3")))?;
                Self::from_objects(s3::open(location, (bucket, prefix), access)?, bandwidth)
            }
        }
    }

    /// Over any store, for tests.
    ///
    /// # Errors
    /// The host has no more threads.
    pub fn from_objects(objects: Arc<dyn ObjectStore>, bandwidth: Option<NonZeroU64>) -> Result<Self, SnapshotError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(16)
            .thread_name("snapshot-io")
            .enable_all()
            .build()
            .map_err(|error| SnapshotError::host("start the threads of a snapshot store", error))?;
        let bandwidth = bandwidth.map(|limit| Arc::new(Bandwidth::new(limit)));
        Ok(Self { objects, bandwidth, directory: None, runtime: Some(runtime) })
    }

    pub(super) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("there until drop")
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime().block_on(future)
    }

    /// `None`: there is no such object.
    pub(super) fn read(&self, name: &str) -> Result<Option<Bytes>, SnapshotError> {
        let read = async { self.objects.get(&ObjectPath::from(name)).await?.bytes().await };
        found(name, self.block_on(read))
    }

    /// `None`: there is no such object. What lies past its end is left out.
    pub(super) fn read_range(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>, SnapshotError> {
        self.block_on(read_range(&*self.objects, name, range))
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, SnapshotError> {
        found(name, self.block_on(self.objects.head(&ObjectPath::from(name)))).map(|meta| meta.map(|meta| meta.size))
    }

    pub(super) fn overwrite(&self, name: &str, bytes: Vec<u8>) -> Result<(), SnapshotError> {
        let put = self.block_on(self.objects.put(&ObjectPath::from(name), bytes.into()));
        put.map(drop).map_err(|source| SnapshotError::store(format!("store {name}"), source))
    }

    /// `false`: another object has this name. An answer of "exists" is not believed before the object was read: a
    /// request that was sent twice finds its own first success, and S3 says the same of two that cross.
    pub(super) fn create(&self, name: &str, bytes: Vec<u8>) -> Result<bool, SnapshotError> {
        let bytes = Bytes::from(bytes);
        for _ in 0..CREATE_ATTEMPTS {
            let (path, payload) = (ObjectPath::from(name), PutPayload::from(bytes.clone()));
            match self.block_on(self.objects.put_opts(&path, payload, PutMode::Create.into())) {
                Ok(_) => return Ok(true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
                // An answer that got lost.
                Err(_) if self.read(name).is_ok_and(|there| there.as_ref() == Some(&bytes)) => return Ok(true),
                Err(source) => return Err(SnapshotError::store(format!("store {name}"), source)),
            }
            if let Some(there) = self.read(name)? {
                return Ok(there == bytes);
            }
        }
        Err(SnapshotError::Refused(format!("the store says of {name} that it exists and that it does not")))
    }

    /// Missing ones are none to it.
    pub(super) fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        found(name, self.block_on(self.objects.delete(&ObjectPath::from(name)))).map(drop)
    }

    /// Everything below, whatever its depth; in no order.
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, SnapshotError> {
        let prefix_path = ObjectPath::from(prefix);
        let listed = self.block_on(self.objects.list(Some(&prefix_path)).try_collect::<Vec<_>>());
        match listed {
            // A directory that is not there yet.
            Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
            listed => listed.map_err(|source| SnapshotError::store(format!("list {prefix}"), source)),
        }
    }

    /// Removals of files are durable only with their directory.
    pub(super) fn sync_directory(&self, name: &str) -> Result<(), SnapshotError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        sync(&directory.join(name)).map_err(|error| SnapshotError::host("make a removal durable", error))
    }
}

/// As [`SnapshotStore::read_range`].
pub(super) async fn read_range(
    objects: &dyn ObjectStore,
    name: &str,
    range: Range<u64>,
) -> Result<Option<Bytes>, SnapshotError> {
    let path = ObjectPath::from(name);
    let end = range.end;
    match objects.get_range(&path, range).await {
        Err(error) if s3::was_unanswered(&error) => found(name, Err(error)),
        // Stores differ in how they say that an object ends before that.
        Err(error) if !matches!(error, object_store::Error::NotFound { .. }) => match objects.head(&path).await {
            Ok(meta) if meta.size < end => Ok(Some(Bytes::new())),
            _ => found(name, Err(error)),
        },
        result => found(name, result),
    }
}

const CREATE_ATTEMPTS: usize = 3;

fn sync(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory)?.sync_all()
}

fn found<T>(name: &str, result: object_store::Result<T>) -> Result<Option<T>, SnapshotError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(source) => Err(SnapshotError::store(format!("reach {name}"), source)),
    }
}

impl Drop for SnapshotStore {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A request that hangs must not hold up whoever is done.
            runtime.shutdown_background();
        }
    }
}
