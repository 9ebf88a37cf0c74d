//! The order in: lock the image, clear what an earlier daemon left, prove the header, show the image, mount the file
//! system, serve.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::attached::Attached;
use super::error::DaemonError;
use super::options::AttachOptions;
use super::readiness::{report, warn};
use super::serve::serve;
use super::{hardening, leftovers};
use crate::catalog::{
    CatalogError, MountRecord, ReadHeader, Root, UnlockedHeader, VolumePaths, read_header, read_terminal,
};
use crate::format::{FileSystemKind, FileSystemState};
use crate::fuse;
use crate::host::file_system::{self, minimum_size_bytes};
use crate::host::loop_device::LoopDevice;
use crate::host::tools::Tool;
use crate::host::{HostError, guard, mounts};
use crate::secret::{LockedArea, SecretError, UnwrapError, UnwrapRequest, VolumeKey, unwrap_volume_key};
use crate::store::{FileStore, Store, StoreError};
use crate::volume::{Volume, VolumeKeys};

/// chown(1) of one directory.
const OWNER_DEADLINE: Duration = Duration::from_secs(30);

/// For a directory that was guarded already, and nobody knows any more how it was before.
const DEFAULT_MODE: u32 = 0o755;

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
    let header = header.unlock(volume_key.header_mac_key().map_err(CatalogError::from)?, Arc::clone(&store), warn)?;
    let volume = Arc::new(open_volume(&header, &volume_key, Arc::clone(&store))?);
    // Every key that serving needs is derived; the one that they come from is wiped here.
    drop(volume_key);
    let plan = FileSystemPlan::make(&header, &volume, options)?;

    let mut attached = Attached::new(paths, volume, store, header, area.protection(), refused);
    match bring_up(root, &mut attached, options, plan) {
        Ok(()) => serve(attached, options),
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
        source => CatalogError::Unwrap { id: paths.id().clone(), source }.into(),
    })
}

fn open_volume(header: &UnlockedHeader, key: &VolumeKey, store: Arc<dyn Store>) -> Result<Volume, DaemonError> {
    let geometry = header.geometry();
    let keys =
        (0..geometry.region_count()).map(|region| key.xts_cipher(region)).collect::<Result<Vec<_>, SecretError>>();
    let keys = keys.map_err(CatalogError::from)?;
    Ok(Volume::new(geometry, store, VolumeKeys(keys)))
}

/// What is to be done about the file system, decided before anything is mounted.
#[derive(Clone, Copy)]
enum FileSystemPlan {
    ImageOnly,
    Mount(FileSystemKind),
    Make(FileSystemKind),
}

impl FileSystemPlan {
    fn make(header: &UnlockedHeader, volume: &Volume, options: &AttachOptions) -> Result<Self, DaemonError> {
        if options.dir.is_none() {
            return Ok(Self::ImageOnly);
        }
        let id = header.superblock().volume_id.clone();
        let usage = |message: String| DaemonError::from(CatalogError::Usage(message));
        let wanted = options.file_system.unwrap_or(FileSystemKind::Ext4);
        match header.superblock().file_system {
            FileSystemState::Formatted(kind) => match options.file_system {
                Some(other) if other != kind => Err(usage(format!("volume {id} holds {kind}, not {other}"))),
                _ if options.mkfs => Err(usage(format!(
                    "volume {id} holds {kind} already; --mkfs would destroy it. To start anew, create a new volume"
                ))),
                _ => Ok(Self::Mount(kind)),
            },
            FileSystemState::Formatting(kind) if !options.mkfs => Err(usage(format!(
                "making {kind} on volume {id} was interrupted. Attach again with --mkfs to make it anew; what is on the \
                 volume is lost then"
            ))),
            FileSystemState::Blank if !options.mkfs && !volume.is_blank()? => Err(usage(format!(
                "volume {id} has no file system of envol's making, but it was written to. Attach it with --raw to look \
                 at it, or with --mkfs to make {wanted} on it, which destroys what is there"
            ))),
            FileSystemState::Formatting(_) | FileSystemState::Blank => {
                let least = minimum_size_bytes(wanted);
                if volume.size_bytes() < least {
                    let mib = least.div_ceil(1 << 20);
                    return Err(usage(format!("volume {id} is too small for {wanted}, which needs {mib} MiB")));
                }
                Ok(Self::Make(wanted))
            }
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

    let Some(dir) = &options.dir else { return Ok(()) };
    let device = LoopDevice::attach(&paths.image())?;
    attached.device = Some(device.clone());
    let kind = match plan {
        FileSystemPlan::ImageOnly => return Ok(()),
        FileSystemPlan::Mount(kind) => kind,
        FileSystemPlan::Make(kind) => {
            attached.record_file_system(FileSystemState::Formatting(kind))?;
            report(&format!("making {kind}"));
            file_system::make(kind, &device, None)?;
            attached.record_file_system(FileSystemState::Formatted(kind))?;
            kind
        }
    };
    report(&format!("mounting {kind} on {}", dir.display()));
    guard_dir(root, &paths, dir)?;
    mounts::mount(&device, dir, kind, &[])?;
    attached.dir = Some(dir.clone());
    if let Some(owner) = &options.owner {
        change_owner(dir, owner)?;
    }
    // From now on the loop device ends with its last user, whatever becomes of this process.
    device.clear_on_last_close()?;
    Ok(())
}

/// The bare directory beneath the mount: nobody may write into it while the volume is away.
fn guard_dir(root: &Root, paths: &VolumePaths, dir: &Path) -> Result<(), DaemonError> {
    let before = MountRecord::read(paths)?;
    if let Some(other) = before.as_ref().filter(|record| record.dir != dir)
        && MountRecord::of_another(root, paths, &other.dir).is_none()
    {
        // The volume moves: the directory it was on is an ordinary one again.
        let _ = guard::release(&other.dir, other.mode);
    }
    let mode = fs::metadata(dir).map_err(DaemonError::io("look at the directory to mount on"))?.mode() & 0o7777;
    let record = match before {
        _ if mode != 0 => Some(MountRecord { dir: dir.to_owned(), mode }),
        Some(record) if record.dir == dir => None,
        // Closed already: another volume, most likely a terminal one, was mounted there before.
        _ => {
            let mode = MountRecord::of_another(root, paths, dir).map_or(DEFAULT_MODE, |record| record.mode);
            Some(MountRecord { dir: dir.to_owned(), mode })
        }
    };
    // Before the guard: what is closed must be known to whoever opens it again.
    if let Some(record) = record {
        record.write(paths)?;
    }
    if !guard::guard(dir)?.immutable {
        tracing::warn!("{} cannot be made immutable on its file system: root could write into it", dir.display());
    }
    Ok(())
}

/// `ROOT/volumes/VOL/attach` leads to where the image is.
fn link_image(paths: &VolumePaths) -> Result<(), DaemonError> {
    let link = paths.attach_link();
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(paths.mount_point(), &link).map_err(DaemonError::io("link to the image"))
}

/// In a child process, as all that touches the mount.
fn change_owner(dir: &Path, owner: &str) -> Result<(), HostError> {
    Tool::new("chown", OWNER_DEADLINE)?.arg("--").arg(owner).arg(dir).run().map(drop)
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
