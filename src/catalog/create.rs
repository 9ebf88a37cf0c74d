//! Makes a volume: everything is checked, and KMS has answered, before the first byte is written.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use kms_client::{KmsKeyId, PrincipalArn};

use super::binding::Binding;
use super::error::{CREATOR, CatalogError};
use super::header::UnlockedHeader;
use super::paths::{Root, VolumePaths, private_dir_all, sync_dir};
use super::peek::peek;
use super::wrapping::{WrappedKeys, wrap_keys};
use crate::format::{
    Damage, DatabaseId, FileSystemState, Geometry, HEADER_LEN, RevocationPolicy, Superblock, UnverifiedSuperblock,
    VolumeId,
};
use crate::host;
use crate::secret::{HeaderMacKey, LockedArea, UnwrapRequest, VolumeKey, unwrap_volume_key};
use crate::store::{FileStore, ImageLayout, Store, StoreError};

/// What a person asks of `create`.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    pub id: VolumeId,
    pub database_id: DatabaseId,
    pub geometry: Geometry,
    pub kms_key: KmsKeyId,
    /// To whom KMS gives a grant for this volume.
    pub grantee: Option<PrincipalArn>,
    /// Whose credentials unwrap the volume key; the other calls use the caller's own.
    pub kms_profile: Option<String>,
    pub on_revocation: RevocationPolicy,
    /// A file or a block device; without, a file in the volume's directory.
    pub backing: Option<PathBuf>,
}

/// Returns the header that was written. `progress` gets bytes done and bytes in all, of what must be zeroed.
pub fn create(
    root: &Root,
    request: &CreateRequest,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Superblock, CatalogError> {
    let paths = root.volume(&request.id);
    root.check_ours()?;
    let backing = check(&paths, request)?;
    let keys = wrap_keys(request)?;
    let made = unwrap_key(request, &keys).and_then(|volume_key| {
        let mac_key = volume_key.header_mac_key()?;
        drop(volume_key);
        make_directory(root, &paths, &backing, request, &keys, mac_key, progress)
    });
    made.map_err(|error| give_back_grant(request, &keys, error))
}

/// A volume that was not made needs no grant. `error` is why.
pub(super) fn give_back_grant(request: &CreateRequest, keys: &WrappedKeys, error: CatalogError) -> CatalogError {
    match keys.grant.as_ref().map(|grant| grant.retire(&keys.kms_key, request.kms_profile.as_deref())) {
        Some(Err(standing)) => CatalogError::GrantStands { standing: Box::new(standing), source: Box::new(error) },
        Some(Ok(())) | None => error,
    }
}

fn make_directory(
    root: &Root,
    paths: &VolumePaths,
    backing: &Backing,
    request: &CreateRequest,
    keys: &WrappedKeys,
    mac_key: HeaderMacKey,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Superblock, CatalogError> {
    let staging = root.volumes().join(format!(".creating-{}", request.id));
    clear_interrupted(&staging, &request.id)?;
    let blank = FileSystemState::Blank;
    let made = make(&staging, backing, request, keys, mac_key, blank, progress).and_then(|(superblock, _)| {
        publish(root, &staging, paths)?;
        Ok(superblock)
    });
    if made.is_err() {
        // Best effort: the error that brought us here says more.
        let _ = fs::remove_dir_all(&staging);
    }
    made
}

/// From now on it is listed.
pub(super) fn publish(root: &Root, staging: &Path, paths: &VolumePaths) -> Result<(), CatalogError> {
    fs::rename(staging, paths.dir()).map_err(CatalogError::io("make", paths.dir()))?;
    sync_dir(&root.volumes()).map_err(CatalogError::io("sync", &root.volumes()))
}

/// A creation that was killed leaves its directory, and may be started anew; one that is under way holds its image's lock.
fn clear_interrupted(staging: &Path, id: &VolumeId) -> Result<(), CatalogError> {
    match FileStore::open(&staging.join("backing")) {
        Err(StoreError::Busy { .. }) => {
            Err(CatalogError::Busy(format!("volume {id} is being created by another command")))
        }
        _ => match fs::remove_dir_all(staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CatalogError::io("clear", staging)(error)),
            _ => Ok(()),
        },
    }
}

/// Where the ciphertext goes.
pub(super) enum Backing {
    /// A file in the volume's directory.
    Own,
    /// A regular file that is not there yet: taken away again if creating fails.
    New(PathBuf),
    Existing(PathBuf),
}

/// Everything that can be refused without asking KMS and without writing.
pub(super) fn check(paths: &VolumePaths, request: &CreateRequest) -> Result<Backing, CatalogError> {
    if paths.dir().exists() {
        return Err(CatalogError::Usage(format!("there is a volume {} already", request.id)));
    }
    let Some(path) = &request.backing else {
        return Ok(Backing::Own);
    };
    let path = std::path::absolute(path).map_err(CatalogError::io("find", path))?;
    if !path.exists() {
        let parent = path.parent().unwrap_or(Path::new("/"));
        if !parent.is_dir() {
            return Err(CatalogError::Usage(format!(
                "there is no directory {} to make the image in",
                parent.display()
            )));
        }
        return Ok(Backing::New(path));
    }
    let file_type = fs::metadata(&path).map_err(CatalogError::io("find", &path))?.file_type();
    if !file_type.is_file() && !file_type.is_block_device() {
        return Err(StoreError::Unsuitable { path }.into());
    }
    check_carries_nothing(&path)?;
    Ok(Backing::Existing(path))
}

/// What is there stays: blkid knows the rest of the world, and only we know ourselves.
pub(super) fn check_carries_nothing(path: &Path) -> Result<(), CatalogError> {
    let busy = |what: String, wipe: &str| {
        let path = path.display();
        let how = format!("If that may be destroyed, wipe it first: {wipe} {path}");
        Err(CatalogError::Busy(format!("{path} carries {what} already, and was not touched. {how}")))
    };
    let peek = peek(path).map_err(CatalogError::io("read", path))?;
    // A damaged copy still says that there is a volume, which the other copy may bring back.
    let volume = |copy: &Result<UnverifiedSuperblock, Damage>| match copy {
        Ok(superblock) => Some(format!("envol volume {}", superblock.volume_id())),
        Err(Damage::Foreign | Damage::Truncated { .. }) => None,
        Err(_) => Some("the damaged header of an envol volume".to_owned()),
    };
    if let Some(what) = peek.copies.iter().find_map(volume) {
        return busy(
            what,
            "`envol delete` that volume or, if nobody has it any more, fallocate --zero-range --length 1MiB",
        );
    }
    match host::signature::find(path)? {
        Some(signature) => busy(signature.what, "wipefs --all"),
        None => Ok(()),
    }
}

/// Unwraps the volume key, as attach will: what is handed over can be attached.
pub(super) fn unwrap_key(request: &CreateRequest, keys: &WrappedKeys) -> Result<VolumeKey, CatalogError> {
    let area = LockedArea::new()?;
    let unwrap = UnwrapRequest {
        kms_key: keys.kms_key.clone(),
        wrapped: keys.volume_key.clone(),
        context: request.database_id.encryption_context(&request.id),
        profile: request.kms_profile.clone(),
        grant_token: keys.grant.as_ref().map(|grant| grant.token.clone()),
    };
    unwrap_volume_key(&area, &unwrap).map_err(|source| {
        let profile = request.kms_profile.as_deref();
        CatalogError::unwrapping(&request.id, source, &keys.kms_key, profile, CREATOR, keys.grant.as_ref())
    })
}

/// The directory of the volume, under a name that is not listed, and its image, locked.
pub(super) fn make(
    staging: &Path,
    backing: &Backing,
    request: &CreateRequest,
    keys: &WrappedKeys,
    mac_key: HeaderMacKey,
    file_system: FileSystemState,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Superblock, Arc<dyn Store>), CatalogError> {
    private_dir_all(staging).map_err(CatalogError::io("make", staging))?;
    let link = staging.join("backing");
    let path = match backing {
        Backing::Own => &link,
        Backing::New(path) | Backing::Existing(path) => {
            std::os::unix::fs::symlink(path, &link).map_err(CatalogError::io("make", &link))?;
            path
        }
    };
    let result = write_image(staging, path, request, keys, mac_key, file_system, progress);
    if let (Err(_), Backing::New(path)) = (&result, backing) {
        let _ = fs::remove_file(path);
    }
    result
}

fn write_image(
    staging: &Path,
    path: &Path,
    request: &CreateRequest,
    keys: &WrappedKeys,
    mac_key: HeaderMacKey,
    file_system: FileSystemState,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(Superblock, Arc<dyn Store>), CatalogError> {
    let superblock = Superblock {
        sequence: 1,
        volume_id: request.id.clone(),
        database_id: request.database_id.clone(),
        geometry: request.geometry,
        created_at_s: Timestamp::now().as_second(),
        kms_key: keys.kms_key.clone(),
        wrapped_volume_key: keys.volume_key.clone(),
        wrapped_canary: keys.canary.clone(),
        key_generation: 1,
        revocation_policy: request.on_revocation,
        file_system,
    };
    let layout = ImageLayout {
        len_bytes: request.geometry.image_len_bytes(),
        header_len_bytes: HEADER_LEN,
        maps: request.geometry.map_ranges().collect(),
    };
    let store: Arc<dyn Store> = Arc::new(FileStore::create(path, &layout, progress)?);
    UnlockedHeader::new(superblock.clone(), mac_key, Arc::clone(&store))
        .write(&superblock)
        .map_err(CatalogError::io("write", path))?;
    Binding::to(keys.kms_key.clone(), superblock.key_generation, keys.grant.clone()).write(staging)?;
    sync_dir(staging).map_err(CatalogError::io("sync", staging))?;
    Ok((superblock, store))
}
