//! The order in: lock the image, clear what an earlier daemon left, prove the header, show the image, mount the file
//! system, serve.

use std::fs;
use std::sync::Arc;

use super::attached::Attached;
use super::error::DaemonError;
use super::file_system::{self, FileSystemPlan};
use super::options::AttachOptions;
use super::readiness::{report, warn};
use super::serve::serve;
use super::{hardening, leftovers};
use crate::catalog::{
    ATTACHER, CatalogError, ReadHeader, Root, UnlockedHeader, VolumePaths, read_header, read_terminal,
};
use crate::fuse;
use crate::host::HostError;
use crate::secret::{LockedArea, SecretError, UnwrapError, UnwrapRequest, VolumeKey, unwrap_volume_key};
use crate::store::{FileStore, Store, StoreError};
use crate::volume::{Volume, VolumeKeys};

/// Attaches the volume and serves it until it is detached or terminal.
pub fn run(root: &Root, paths: &mut VolumePaths, options: &AttachOptions) -> Result<(), DaemonError> {
    let refused = hardening::harden();
    paths.make_runtime_dir().map_err(DaemonError::io("make the runtime directory"))?;
    for refusal in &refused {
        tracing::warn!("the host does not allow this process to {refusal}");
    }
    let store = open_store(root, paths)?;
    leftovers::clear(paths, options.force)?;

    let header = read_header(&*store, paths)?;
    report("asking KMS for the volume key");
    let area = LockedArea::new().map_err(CatalogError::from)?;
    let volume_key = unwrap(&area, &header, paths, options)?;
    let grant = header.grant().cloned();
    let header = header.unlock(volume_key.header_mac_key().map_err(CatalogError::from)?, Arc::clone(&store), warn)?;
    let volume = Arc::new(open_volume(&header, &volume_key, Arc::clone(&store))?);
    // Every key that serving needs is derived; the one that they come from is wiped here.
    drop(volume_key);
    let plan = FileSystemPlan::make(&header, &volume, options)?;

    let mut attached = Attached::new(paths, volume, store, header, area.protection(), refused);
    match bring_up(root, &mut attached, options, plan) {
        Ok(()) => serve(attached, options, grant),
        Err(error) => {
            attached.tear_down();
            Err(error)
        }
    }
}

fn open_store(root: &Root, paths: &VolumePaths) -> Result<Arc<dyn Store>, DaemonError> {
    let id = paths.id().clone();
    if !paths.dir().is_dir() {
        return Err(CatalogError::NoSuchVolume { id, root: root.path().to_owned() }.into());
    }
    match FileStore::open(&paths.backing()) {
        Ok(store) => Ok(Arc::new(store)),
        Err(StoreError::Busy { .. }) => {
            Err(read_terminal(paths).unwrap_or_else(|| CatalogError::Busy(leftovers::who_is_attached(paths))).into())
        }
        Err(error) => Err(CatalogError::NotOurs { id, problem: error.to_string() }.into()),
    }
}

fn unwrap(
    area: &Arc<LockedArea>,
    header: &ReadHeader,
    paths: &VolumePaths,
    options: &AttachOptions,
) -> Result<VolumeKey, DaemonError> {
    let request = UnwrapRequest {
        kms_key: header.kms_key().clone(),
        wrapped: header.wrapped_volume_key().clone(),
        context: header.encryption_context(),
        profile: options.kms_profile.clone(),
        grant_token: header.grant().map(|grant| grant.token.clone()),
    };
    unwrap_volume_key(area, &request).map_err(|error| match error {
        // The wrapped key is not of this KMS key and context: the header was edited, or is another volume's.
        UnwrapError::Kms(answer) if answer.answer == kms_client::Answer::WrongCiphertext => CatalogError::NotOurs {
            id: paths.id().clone(),
            problem: format!(
                "KMS does not recognise the wrapped key in its header for this volume and database ({answer})"
            ),
        }
        .into(),
        error @ (UnwrapError::OtherKmsKey { .. } | UnwrapError::NotAVolumeKey { .. }) => {
            CatalogError::NotOurs { id: paths.id().clone(), problem: error.to_string() }.into()
        }
        source => {
            let profile = options.kms_profile.as_deref();
            CatalogError::unwrapping(paths.id(), source, header.kms_key(), profile, ATTACHER, header.grant()).into()
        }
    })
}

fn open_volume(header: &UnlockedHeader, key: &VolumeKey, store: Arc<dyn Store>) -> Result<Volume, DaemonError> {
    let geometry = header.geometry();
    let keys =
        (0..geometry.region_count()).map(|region| key.xts_cipher(region)).collect::<Result<Vec<_>, SecretError>>();
    let keys = keys.map_err(CatalogError::from)?;
    Ok(Volume::new(geometry, store, VolumeKeys(keys)))
}

/// From here on there is something to take down again: [`Attached::tear_down`].
fn bring_up(
    root: &Root,
    attached: &mut Attached,
    options: &AttachOptions,
    plan: FileSystemPlan,
) -> Result<(), DaemonError> {
    let paths = attached.paths.clone();
    report("showing the image");
    paths.make_mount_point().map_err(DaemonError::io("make the mount point of the image"))?;
    let source = format!("envol-{}", paths.id());
    let server = fuse::serve(Arc::clone(&attached.volume), &paths.mount_point(), &source).map_err(missing_fuse)?;
    attached.fuse = Some(server);
    link_image(&paths)?;

    match &options.dir {
        Some(dir) => file_system::bring_up(root, attached, dir, options.owner.as_deref(), plan),
        None => Ok(()),
    }
}

/// `ROOT/volumes/VOL/attach` leads to where the image is.
fn link_image(paths: &VolumePaths) -> Result<(), DaemonError> {
    let link = paths.attach_link();
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(paths.mount_point(), &link).map_err(DaemonError::io("link to the image"))
}

fn lacks(program: &str) -> HostError {
    HostError::Missing { program: program.to_owned(), package: "fuse3" }
}

fn missing_fuse(error: std::io::Error) -> DaemonError {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => lacks("/dev/fuse").into(),
        _ if error.kind() == std::io::ErrorKind::NotFound => lacks("fusermount3").into(),
        _ => DaemonError::Io { action: "mount the image", source: error },
    }
}
