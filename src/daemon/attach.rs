//! The order in: lock the image, clear what an earlier daemon left, prove the header, show the image, mount the file
//! system, serve.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::{fs, io};

use super::attached::{Attached, Opened};
use super::error::DaemonError;
use super::file_system::{self, FileSystemPlan};
use super::options::AttachOptions;
use super::readiness::{report, warn};
use super::report::Report;
use super::serve::serve;
use super::{hardening, kms_wait, leftovers, metrics};
use crate::catalog::{
    ATTACHER, CatalogError, LastSnapshot, ReadHeader, Root, UnlockedHeader, VolumePaths, open_changes, read_header,
    read_revoked,
};
use crate::format::RevocationPolicy;
use crate::fuse;
use crate::host::HostError;
use crate::revocation::events::RecordedBy;
use crate::secret::{LockedArea, VolumeKey};
use crate::store::{CacheMode, Store, StoreError};
use crate::volume::{Volume, VolumeKeys};

/// Attaches the volume and serves it until it is detached or terminal.
pub fn run(root: &Root, paths: &mut VolumePaths, options: &AttachOptions) -> Result<(), DaemonError> {
    let refused = hardening::harden();
    let metrics = options.metrics_listen.map(listen_for_metrics).transpose()?;
    paths.make_runtime_dir()?;
    for refusal in &refused {
        tracing::warn!("the host does not allow this process to {refusal}");
    }
    let id = paths.id().clone();
    let mut is_first = true;
    let Found { store, header, area, volume_key } = kms_wait::until_reached(&id, options.wait_for_kms, || {
        find(root, paths, options, std::mem::take(&mut is_first))
    })?;
    let grant = header.grant().cloned();
    let was_inaccessible = header.recoverable_until().is_some();
    let mut header =
        header.unlock(volume_key.header_mac_key().map_err(CatalogError::from)?, Arc::clone(&store), warn)?;
    let change_detection = volume_key.change_detection_key().map_err(CatalogError::from)?;
    let volume = open_volume(&header, &volume_key, Arc::clone(&store))?;
    // Every key that serving needs is derived; the one that they come from is wiped here.
    drop(volume_key);
    let plan = FileSystemPlan::make(&header, &volume, options)?;
    // Not before: what was refused up to here has written nothing.
    let volume = Arc::new(with_changes(volume, &mut header, paths)?);

    let report = Report::start(paths, options.on_event.as_deref(), RecordedBy::Daemon)?;
    let opened = Opened { volume, store, header, change_detection };
    let mut attached = Attached::new(paths, opened, report.clone(), area, refused);
    match bring_up(root, &mut attached, options, plan) {
        Ok(()) => {
            if was_inaccessible {
                report.recovered();
            }
            warn_of_finality(&attached);
            let outcome = serve(attached, options, grant, metrics);
            report.finish();
            outcome
        }
        Err(error) => {
            attached.tear_down();
            Err(error)
        }
    }
}

/// Before anything else: who asked for it must not find out later that it is not there.
fn listen_for_metrics(address: SocketAddr) -> Result<TcpListener, DaemonError> {
    metrics::bind(address).map_err(|error| {
        let message = format!("cannot listen on {address} for metrics: {error}; give --metrics-listen another address");
        match error.kind() {
            io::ErrorKind::AddrInUse => CatalogError::Busy(message).into(),
            _ => CatalogError::Usage(message).into(),
        }
    })
}

/// A volume whose key KMS gave out, before anything is believed of its header.
struct Found {
    store: Arc<dyn Store>,
    header: ReadHeader,
    area: Arc<LockedArea>,
    volume_key: VolumeKey,
}

/// From the start each time: while nobody had the image, anything may have become of it.
fn find(root: &Root, paths: &VolumePaths, options: &AttachOptions, is_first: bool) -> Result<Found, DaemonError> {
    let store = open_store(root, paths, options.cache)?;
    leftovers::clear(paths, options.force)?;
    let header = read_header(&*store, paths)?;
    if is_first {
        report("asking KMS for the volume key");
    }
    let area = LockedArea::new().map_err(CatalogError::from)?;
    let volume_key = header
        .unwrap(&area, options.kms_profile.as_deref(), ATTACHER)
        .map_err(|error| still_revoked(&header, paths, error.into()))?;
    Ok(Found { store, header, area, volume_key })
}

fn open_store(root: &Root, paths: &VolumePaths, cache: Option<CacheMode>) -> Result<Arc<dyn Store>, DaemonError> {
    let id = paths.id().clone();
    if !paths.dir().is_dir() {
        return Err(CatalogError::NoSuchVolume { id, root: root.path().to_owned() }.into());
    }
    let backing = paths.backing();
    match leftovers::open_image(paths) {
        Ok(mut store) => {
            let bypassed = if cache == Some(CacheMode::Writeback) { Ok(()) } else { store.bypass_cache(&backing) };
            match bypassed {
                // Nobody insisted.
                Err(StoreError::NoDirectIo { .. }) if cache.is_none() => {}
                bypassed => bypassed.map_err(CatalogError::from)?,
            }
            Ok(Arc::new(store))
        }
        Err(StoreError::Busy { .. }) => {
            Err(read_revoked(paths).unwrap_or_else(|| CatalogError::Busy(leftovers::who_is_attached(paths))).into())
        }
        Err(error) => Err(CatalogError::NotOurs { id, problem: error.to_string() }.into()),
    }
}

/// Says until when the volume can still come back.
fn still_revoked(header: &ReadHeader, paths: &VolumePaths, error: DaemonError) -> DaemonError {
    match (header.recoverable_until(), error) {
        (Some(until), DaemonError::Catalog(source)) => {
            CatalogError::StillRevoked { id: paths.id().clone(), until, source: Box::new(source) }.into()
        }
        (_, error) => error,
    }
}

/// Whoever attaches should know before it happens.
fn warn_of_finality(attached: &Attached) {
    let id = attached.paths.id();
    let (consequence, way_back) = match attached.header().superblock().revocation_policy {
        RevocationPolicy::Recoverable { .. } => return,
        RevocationPolicy::Terminal => ("end it for good", "a backup that does not depend on it"),
        RevocationPolicy::Erase => ("destroy its keys", "a backup under another key"),
    };
    if matches!(LastSnapshot::read(&attached.paths), Ok(None)) {
        warn(&format!(
            "volume {id} has no snapshot: revoking its KMS key would {consequence}. Take one with `envol snapshot create {id}`, or \
             have {way_back}"
        ));
    }
}

fn open_volume(header: &UnlockedHeader, key: &VolumeKey, store: Arc<dyn Store>) -> Result<Volume, DaemonError> {
    let geometry = header.geometry();
    Ok(Volume::new(geometry, store, VolumeKeys::derive(key, geometry).map_err(CatalogError::from)?))
}

/// Its changes are believed only if nobody else has attached the image since: each attach leaves its mark in the header.
fn with_changes(volume: Volume, header: &mut UnlockedHeader, paths: &VolumePaths) -> Result<Volume, DaemonError> {
    let known = header.superblock().sequence;
    let opened = open_changes(paths, header.geometry(), known);
    header.update(|_| {}).map_err(DaemonError::io("write the header"))?;
    let opened = opened.and_then(|changes| changes.follow_header(header.superblock().sequence).map(|()| changes));
    match opened {
        Ok(changes) => Ok(volume.with_changes(changes)),
        Err(error) => {
            let (id, path) = (paths.id(), paths.changes());
            tracing::warn!("the next snapshot of volume {id} will read all of it: {}: {error}", path.display());
            Ok(volume)
        }
    }
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

fn missing_fuse(error: io::Error) -> DaemonError {
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => lacks("/dev/fuse").into(),
        _ if error.kind() == io::ErrorKind::NotFound => lacks("fusermount3").into(),
        _ => DaemonError::Io { action: "mount the image", source: error },
    }
}
