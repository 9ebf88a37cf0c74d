//! Destroys a volume. Without its header no key can be unwrapped, so the header goes first.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;

use super::binding::Binding;
use super::error::CatalogError;
use super::grant::StandingGrant;
use super::image::is_attached;
use super::mount_record::MountRecord;
use super::paths::{Root, VolumePaths, sync_dir};
use super::peek::peek;
use crate::format::HEADER_LEN;
use crate::host;
use crate::store::{FileStore, Store, StoreError};

/// How much of the header is written with one call.
const WIPE_STEP: u64 = 64 << 10;

/// Refuses while the volume is attached, and where its link leads to another volume's image. An image file is removed;
/// a block device keeps its ciphertext, which nothing can open any more. The directory that the volume was mounted on
/// gets back its permissions, unless another volume's guard is on it. Its grants go last, with the caller's
/// credentials; that one stays does not bring the volume back.
pub fn delete(root: &Root, paths: &VolumePaths) -> Result<Vec<StandingGrant>, CatalogError> {
    // What cannot be understood names no grant, and must not keep a volume from being deleted.
    let binding = Binding::read(paths).unwrap_or_default();
    let backing = paths.backing();
    match FileStore::open(&backing) {
        Ok(store) => {
            check_ours(paths)?;
            wipe_header(&store).map_err(CatalogError::io("wipe the header in", &backing))?;
        }
        Err(StoreError::Busy { .. }) => return Err(is_attached(paths)),
        // Its image is gone: there is nothing left to wipe.
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    release_guard(root, paths);
    let target = fs::canonicalize(&backing).ok();
    if let Some(file) = target.filter(|path| fs::metadata(path).is_ok_and(|data| !data.file_type().is_block_device())) {
        fs::remove_file(&file).map_err(CatalogError::io("remove", &file))?;
    }
    // Names that a killed daemon left.
    let _ = fs::remove_file(paths.control_socket());
    let _ = fs::remove_dir(paths.mount_point());
    fs::remove_dir_all(paths.dir()).map_err(CatalogError::io("remove", paths.dir()))?;
    sync_dir(&root.volumes()).map_err(CatalogError::io("sync", &root.volumes()))?;
    Ok(binding.map_or_else(Vec::new, |binding| binding.retire_all(None)))
}

/// Device names change places between boots; a damaged header is nobody's, and may go.
fn check_ours(paths: &VolumePaths) -> Result<(), CatalogError> {
    let backing = paths.backing();
    let peek = peek(&backing).map_err(CatalogError::io("read", &backing))?;
    for copy in peek.copies.iter().flatten() {
        if copy.volume_id() != paths.id() {
            let problem =
                format!("{} holds volume {}, which is not to be deleted", backing.display(), copy.volume_id());
            return Err(CatalogError::NotOurs { id: paths.id().clone(), problem });
        }
    }
    Ok(())
}

fn release_guard(root: &Root, paths: &VolumePaths) {
    let Some(record) = MountRecord::read(paths).unwrap_or_default() else { return };
    if MountRecord::of_another(root, paths, &record.dir).is_some() {
        return;
    }
    if let Err(error) = host::guard::release(&record.dir, record.mode) {
        tracing::warn!("{} stays guarded: {error}", record.dir.display());
    }
}

fn wipe_header(store: &dyn Store) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(WIPE_STEP).unwrap_or(0)];
    for offset in (0..HEADER_LEN).step_by(zeros.len()) {
        store.write_header(offset, &zeros)?;
    }
    Ok(())
}
