//! Where things are: the root directory, a volume's directory in it, and what exists only while it is attached.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::ownership;
use crate::format::VolumeId;

/// The directory that holds everything envol keeps on this host.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// `/var/lib/envol` as root, else the XDG data folder, where no directory is given. Absolute, not yet made.
    pub fn new(given: Option<&Path>) -> Result<Self, CatalogError> {
        let path = match given {
            Some(path) => path.to_owned(),
            None if rustix::process::geteuid().is_root() => PathBuf::from("/var/lib/envol"),
            None => data_home()?.join("envol"),
        };
        let path = std::path::absolute(&path).map_err(CatalogError::io("find", &path))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn volumes(&self) -> PathBuf {
        self.0.join("volumes")
    }

    pub fn volume(&self, id: &VolumeId) -> VolumePaths {
        let runtime = runtime_dir(&self.0);
        // The kernel knows mounts by paths without symbolic links. Before it is made there is nothing mounted in it.
        let runtime = fs::canonicalize(&runtime).unwrap_or(runtime);
        VolumePaths { id: id.clone(), dir: self.volumes().join(id.as_str()), runtime }
    }

    /// The paths of one whose directory is not listed yet.
    pub(super) fn volume_in(&self, id: &VolumeId, directory: &str) -> VolumePaths {
        VolumePaths { dir: self.volumes().join(directory), ..self.volume(id) }
    }

    /// Whoever else may change it decides what is found in it.
    ///
    /// # Errors
    /// [`CatalogError::Usage`]
    pub(super) fn check_ours(&self) -> Result<(), CatalogError> {
        ownership::check_ours(&self.0)?;
        ownership::check_ours_within(&self.volumes())
    }

    /// The paths of a volume that is there, where nobody else can change them.
    pub fn existing(&self, id: &VolumeId) -> Result<VolumePaths, CatalogError> {
        let paths = self.volume(id);
        self.check_ours()?;
        ownership::check_ours_within(&paths.dir)?;
        match fs::metadata(&paths.dir) {
            Ok(_) => Ok(paths),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(CatalogError::NoSuchVolume { id: id.clone(), root: self.0.clone() })
            }
            Err(error) => Err(CatalogError::io("look at", &paths.dir)(error)),
        }
    }

    /// Where snapshots go, and are looked for, when no store is named.
    pub fn snapshots(&self) -> PathBuf {
        self.0.join("snapshots")
    }

    /// Everything of the local KMS.
    pub fn kms(&self) -> PathBuf {
        self.0.join("kms")
    }
}

/// The paths of one volume. Those down to its snapshots lie in its directory, the rest on a file system that a reboot empties.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VolumePaths {
    id: VolumeId,
    dir: PathBuf,
    runtime: PathBuf,
}

impl VolumePaths {
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The image with the ciphertext, or a symbolic link to the file or device that was given for it.
    pub fn backing(&self) -> PathBuf {
        self.dir.join("backing")
    }

    /// A symbolic link to [`VolumePaths::mount_point`], while attached.
    pub fn attach_link(&self) -> PathBuf {
        self.dir.join("attach")
    }

    pub fn mount_record(&self) -> PathBuf {
        self.dir.join("mount.json")
    }

    pub fn log(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    /// What became of it, a line of JSON for each event.
    pub fn events(&self) -> PathBuf {
        self.dir.join("events.jsonl")
    }

    /// Which chunks changed since the last snapshot.
    pub fn changes(&self) -> PathBuf {
        self.dir.join("changes")
    }

    pub fn last_snapshot(&self) -> PathBuf {
        self.dir.join("last-snapshot.json")
    }

    /// Where the FUSE front-end is mounted.
    pub fn mount_point(&self) -> PathBuf {
        self.runtime.join(self.id.as_str())
    }

    /// The one file that the front-end shows.
    pub fn image(&self) -> PathBuf {
        self.mount_point().join(crate::fuse::IMAGE_NAME)
    }

    pub fn control_socket(&self) -> PathBuf {
        self.runtime.join(format!("{}.sock", self.id))
    }

    /// What a daemon put on the host, for whoever clears it up when it is gone.
    pub fn footprint(&self) -> PathBuf {
        self.runtime.join(format!("{}.footprint", self.id))
    }

    /// Locked by the companion of the daemon as long as it lives.
    pub fn companion_lock(&self) -> PathBuf {
        self.runtime.join(format!("{}.companion", self.id))
    }

    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// For the owner alone. Does not touch the mount point, where a killed daemon's dead mount may lie.
    pub fn make_runtime_dir(&mut self) -> Result<(), CatalogError> {
        let made = private_dir_all(&self.runtime).and_then(|()| fs::canonicalize(&self.runtime));
        self.runtime = made.map_err(CatalogError::io("make", &self.runtime))?;
        ownership::check_ours_within(&self.runtime)
    }

    /// For the owner alone.
    pub fn make_mount_point(&self) -> io::Result<()> {
        private_dir_all(&self.mount_point())
    }
}

/// Makes a directory and those above it, mode 0700. One that exists is left as it is.
pub(super) fn private_dir_all(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes a small file whole or not at all, for the owner alone; durable on return.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = File::options();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_dir(path.parent().unwrap_or(Path::new("/")))
}

/// Makes renames and new names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn data_home() -> Result<PathBuf, CatalogError> {
    let xdg = env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    xdg.or_else(home).ok_or_else(|| {
        CatalogError::Usage(
            "there is no XDG_DATA_HOME and no HOME to keep volumes in; name a directory with --root".into(),
        )
    })
}

fn runtime_dir(root: &Path) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/run/envol");
    }
    match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => path.join("envol"),
        // No login session: the root directory is as private.
        None => root.join("run"),
    }
}
