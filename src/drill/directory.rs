//! `ROOT/drills/DRILL-ID/`: the undo record, the report, and the lock that tells a drill that runs from a dead one.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::error::DrillError;
use crate::catalog::Root;

/// A drill's directory, locked. No child inherits the lock.
#[derive(Debug)]
pub(super) struct DrillDirectory {
    id: String,
    path: PathBuf,
    _lock: File,
}

impl DrillDirectory {
    /// For a new drill. Others may pass through it: a database runs as a user of its own.
    pub(super) fn make(root: &Root) -> Result<Self, DrillError> {
        let mut random = [0; 3];
        getrandom::fill(&mut random).map_err(|error| DrillError::Failed(error.to_string()))?;
        let now = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
        let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = format!("drill-{now}-{random}");
        let path = drills(root).join(&id);
        make_passable(&path)?;
        match Self::lock(root, &id)? {
            Some(directory) => Ok(directory),
            None => Err(DrillError::Failed(format!("{} belongs to another command", path.display()))),
        }
    }

    /// None while its drill runs, or another command undoes it.
    pub(super) fn lock(root: &Root, id: &str) -> Result<Option<Self>, DrillError> {
        let path = drills(root).join(id);
        let lock = File::open(&path).map_err(DrillError::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { id: id.to_owned(), path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(DrillError::io("lock", &path)(error)),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn record(&self) -> PathBuf {
        self.path.join("undo.json")
    }

    /// Of a drill that came to no report there is nothing to keep.
    pub(super) fn remove_if_empty(&self) {
        let _ = fs::remove_dir(&self.path);
    }
}

/// The drills that left an undo record, running or dead, oldest first. One directory is read when there is none.
pub(super) fn with_record(root: &Root) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(drills(root)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut ids: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?).filter(|entry| entry.path().join("undo.json").exists()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    ids.sort();
    Ok(ids)
}

pub(super) fn drills(root: &Root) -> PathBuf {
    root.path().join("drills")
}

/// With those above it. What exists keeps its permissions.
pub(super) fn make_passable(path: &Path) -> Result<(), DrillError> {
    DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(DrillError::io("make", path))
}
