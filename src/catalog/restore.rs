//! Makes a volume out of a snapshot: a new key, a new context, and the data verified while it is written.
//!
//! It grows under a name that is not listed and gets its own when it is whole. What an interrupted command has written is
//! durable up to a leaf of the snapshot, and the same command goes on there.

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::create::{Backing, CreateRequest, check, check_carries_nothing, give_back_grant, make, publish, unwrap_key};
use super::error::CatalogError;
use super::paths::Root;
use super::peek::peek;
use super::restoration::{Asked, Restoration, Staging, find_interrupted};
use super::wrapping::wrap_keys;
use crate::format::{FileSystemState, VolumeId};
use crate::secret::VolumeKey;
use crate::snapshot::{SnapshotError, SnapshotReader};
use crate::store::{FileStore, Store, StoreError};
use crate::volume::{Scratch, Volume, VolumeError, VolumeKeys};

/// How many leaves, of 512 MiB each, are made durable together.
const LEAVES_A_STEP: u64 = 4;

/// Read by others while it goes on.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    /// Known as soon as there is something on the disk.
    pub volume: OnceLock<VolumeId>,
    /// Plaintext bytes written.
    pub done_bytes: AtomicU64,
}

/// `request.id` is the new volume's unless `id_is_random` and an interrupted command had another one.
///
/// # Errors
/// After [`CatalogError::Unfinished`] a repeat goes on. A refusal leaves things as they were: of KMS, or to touch what
/// another command or another volume holds. After all others nothing is left.
pub fn restore(
    root: &Root,
    mut request: CreateRequest,
    id_is_random: bool,
    reader: &SnapshotReader,
    progress: &RestoreProgress,
    cancelled: &AtomicBool,
) -> Result<VolumeId, CatalogError> {
    let header = reader.header();
    if request.geometry.size_bytes() < header.draft.size_bytes {
        return Err(CatalogError::Usage(format!(
            "snapshot {} is of {} bytes; a volume of it cannot be smaller than that",
            header.id(),
            header.draft.size_bytes
        )));
    }
    let asked = Asked::of(&request, header.id());
    let wanted = (!id_is_random).then(|| request.id.clone());
    let (staging, mut restoration, volume_key) = match find_interrupted(root, &asked, wanted.as_ref())? {
        Some((staging, restoration)) => {
            request.id = restoration.volume.clone();
            let volume_key = unwrap_key(&request, &restoration.keys)?;
            (staging, restoration, volume_key)
        }
        None => begin(root, &request, asked)?,
    };
    let _ = progress.volume.set(request.id.clone());
    let paths = root.volume(&request.id);
    let written = open_image(&staging, &request, &restoration, &volume_key, reader).and_then(|store| {
        let volume = Volume::new(request.geometry, store, VolumeKeys::derive(&volume_key, request.geometry)?);
        write(&staging, &volume, reader, &mut restoration, progress, cancelled)?;
        publish(root, &staging.path, &paths)
    });
    match written {
        Ok(()) => {
            Staging::remove_record(paths.dir());
            Ok(request.id)
        }
        Err(error) if may_go_on(&error) => Err(CatalogError::Unfinished { id: request.id, source: Box::new(error) }),
        Err(error) if is_of_others(&error) => Err(error),
        Err(error) => {
            staging.clear(&restoration.backing());
            Err(give_back_grant(&request, &restoration.keys, error))
        }
    }
}

/// The same command goes on later.
fn may_go_on(error: &CatalogError) -> bool {
    matches!(error, CatalogError::Snapshot(SnapshotError::Cancelled | SnapshotError::Store { .. }))
}

/// Nothing of theirs is to be cleared away.
fn is_of_others(error: &CatalogError) -> bool {
    matches!(
        error,
        CatalogError::Busy(_) | CatalogError::NotOurs { .. } | CatalogError::Store(StoreError::NotEmpty { .. })
    )
}

type Begun = (Staging, Restoration, VolumeKey);

/// Nothing is written before KMS has answered.
fn begin(root: &Root, request: &CreateRequest, asked: Asked) -> Result<Begun, CatalogError> {
    root.check_ours()?;
    let backing = check(&root.volume(&request.id), request)?;
    let keys = wrap_keys(request)?;
    let begun = unwrap_key(request, &keys).and_then(|volume_key| {
        let restoration = Restoration::new(request, asked, keys.clone(), &backing);
        Ok((Staging::begin(root, &restoration)?, restoration, volume_key))
    });
    begun.map_err(|error| give_back_grant(request, &keys, error))
}

/// As an interrupted command has left it, or a new one.
fn open_image(
    staging: &Staging,
    request: &CreateRequest,
    restoration: &Restoration,
    volume_key: &VolumeKey,
    reader: &SnapshotReader,
) -> Result<Arc<dyn Store>, CatalogError> {
    let link = staging.path.join("backing");
    if holds(&link, &request.id) {
        return match FileStore::open(&link) {
            Ok(store) => Ok(Arc::new(store)),
            Err(StoreError::Busy { .. }) => Err(CatalogError::Busy(format!("{} is in use", link.display()))),
            Err(error) => Err(error.into()),
        };
    }
    if restoration.next_leaf > 0 {
        // Device names change places between boots.
        let problem = format!("{} is not the image that was being restored", link.display());
        return Err(CatalogError::NotOurs { id: request.id.clone(), problem });
    }
    let backing = match restoration.backing() {
        Backing::New(path) | Backing::Existing(path) if path.exists() => {
            check_carries_nothing(&path)?;
            Backing::Existing(path)
        }
        backing => backing,
    };
    match fs::remove_file(&link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(CatalogError::io("clear", &link)(error));
        }
        _ => {}
    }
    let file_system = reader.header().draft.file_system.map_or(FileSystemState::Blank, FileSystemState::Formatted);
    let mac_key = volume_key.header_mac_key()?;
    let made = make(&staging.path, &backing, request, &restoration.keys, mac_key, file_system, &mut |_, _| {});
    made.map(|(_, store)| store)
}

/// Whether there is an image with the header of this volume.
fn holds(image: &Path, id: &VolumeId) -> bool {
    let headers = peek(image).ok().and_then(|peek| peek.headers.ok());
    headers.is_some_and(|headers| headers.newest().volume_id() == id)
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fn write(
    staging: &Staging,
    volume: &Volume,
    reader: &SnapshotReader,
    restoration: &mut Restoration,
    progress: &RestoreProgress,
    cancelled: &AtomicBool,
) -> Result<(), CatalogError> {
    progress.done_bytes.store(restoration.done_bytes, Ordering::Relaxed);
    let id = restoration.volume.clone();
    let failed = |error: VolumeError| {
        SnapshotError::Volume(format!(
            "volume {id} is not restored: {error}. When that is mended, the same command goes on with it"
        ))
    };
    let write_chunk = |chunk: u64, written: u128, data: &[u8]| {
        let put = SCRATCH.with_borrow_mut(|scratch| volume.write_chunk(chunk, written, data, scratch));
        put.map_err(&failed)?;
        progress.done_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    };
    let durable = || volume.sync().map_err(&failed);
    let end = reader.leaf_count();
    while restoration.next_leaf < end {
        let step = restoration.next_leaf..end.min(restoration.next_leaf + LEAVES_A_STEP);
        reader.read_leaves(step.clone(), &write_chunk, cancelled)?;
        // In this order: what the record says is there.
        durable()?;
        restoration.next_leaf = step.end;
        restoration.done_bytes = progress.done_bytes.load(Ordering::Relaxed);
        staging.write(restoration)?;
    }
    Ok(durable()?)
}
