//! What has to be undone: on disk before it is done, and off it only when it is undone. It holds no secrets.

use std::fs;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use kms_client::KmsKeyArn;
use serde::{Deserialize, Serialize};

use super::directory::DrillDirectory;
use super::error::DrillError;
use super::way::Way;
use crate::catalog;
use crate::format::VolumeId;
use crate::host::ProcessName;

/// One change, named by how it is undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(super) enum Step {
    Directory {
        path: PathBuf,
    },
    /// The observer's directory at the top of a volume of the user's, while that is mounted.
    Probes {
        volume: VolumeId,
        path: PathBuf,
    },
    /// A key of the drill's own. Until KMS has said its name, the description finds it.
    Key {
        arn: Option<KmsKeyArn>,
        description: String,
    },
    /// Grants with this name.
    Grants {
        key: KmsKeyArn,
        name: String,
    },
    Volume {
        id: VolumeId,
    },
    Process {
        what: String,
        process: ProcessName,
    },
    /// The key was enabled before.
    KeyState {
        key: KmsKeyArn,
        way: Way,
    },
    Policy {
        key: KmsKeyArn,
        sid: String,
        original: String,
        edited: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoRecord {
    pub(super) version: u32,
    pub(super) drill_id: String,
    pub(super) started_at: Timestamp,
    /// Whose credentials the drill had.
    pub(super) caller: Option<String>,
    /// In the order in which they were done.
    pub(super) steps: Vec<Step>,
}

const VERSION: u32 = 1;

impl UndoRecord {
    pub(super) fn new(directory: &DrillDirectory, caller: Option<String>) -> Self {
        let drill_id = directory.id().to_owned();
        Self { version: VERSION, drill_id, started_at: Timestamp::now(), caller, steps: Vec::new() }
    }

    /// None if there is none.
    pub(super) fn read(directory: &DrillDirectory) -> Result<Option<Self>, DrillError> {
        let path = directory.record();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(DrillError::io("read", &path))?,
        };
        let unknown = |error: String| DrillError::Failed(format!("{} is no undo record: {error}", path.display()));
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| unknown(error.to_string()))?;
        if record.version != VERSION {
            return Err(unknown(format!("its version is {}; use the envol that wrote it", record.version)));
        }
        Ok(Some(record))
    }

    /// Durable on return, so that the change may follow.
    pub(super) fn add(&mut self, step: Step, directory: &DrillDirectory) -> Result<(), DrillError> {
        self.steps.push(step);
        self.write(directory)
    }

    /// Without steps the record goes.
    pub(super) fn write(&self, directory: &DrillDirectory) -> Result<(), DrillError> {
        let path = directory.record();
        if self.steps.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DrillError::io("remove", &path)(error)),
                _ => catalog::sync_dir(directory.path()).map_err(DrillError::io("sync", directory.path())),
            };
        }
        let text = serde_json::to_string_pretty(self).map_err(|error| DrillError::Failed(error.to_string()))?;
        catalog::write_durably(&path, text.as_bytes()).map_err(DrillError::io("write", &path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_comes_back_from_disk() {
        let root = tempfile::tempdir().unwrap();
        let root = catalog::Root::new(Some(root.path())).unwrap();
        let directory = DrillDirectory::make(&root).unwrap();
        let mut record = UndoRecord::new(&directory, Some("arn:aws:iam::111122223333:user/a".to_owned()));
        let key: KmsKeyArn = "arn:aws:kms:us-east-1:111122223333:key/1".parse().unwrap();
        let text = || "{\"Statement\": []}".to_owned();
        for step in [
            Step::Directory { path: "/run/x y".into() },
            Step::Probes { volume: "vol-1".parse().unwrap(), path: "/mnt/probes".into() },
            Step::Key { arn: None, description: "d".to_owned() },
            Step::Key { arn: Some(key.clone()), description: "d".to_owned() },
            Step::Grants { key: key.clone(), name: "vol-1".to_owned() },
            Step::Volume { id: "vol-1".parse().unwrap() },
            Step::Process { what: "PostgreSQL".to_owned(), process: ProcessName::of(std::process::id()).unwrap() },
            Step::KeyState { key: key.clone(), way: Way::ScheduleKeyDeletion },
            Step::Policy { key, sid: "EnvolDrill1".to_owned(), original: text(), edited: text() },
        ] {
            record.add(step, &directory).unwrap();
            assert_eq!(UndoRecord::read(&directory).unwrap().as_ref(), Some(&record));
        }
        assert!(directory::with_record(&root).unwrap() == [directory.id()]);
        assert!(DrillDirectory::lock(&root, directory.id()).unwrap().is_none(), "the drill runs");

        record.steps.clear();
        record.write(&directory).unwrap();
        assert_eq!(UndoRecord::read(&directory).unwrap(), None);
        assert!(directory::with_record(&root).unwrap().is_empty());
    }

    #[test]
    fn a_record_of_a_later_version_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let root = catalog::Root::new(Some(root.path())).unwrap();
        let directory = DrillDirectory::make(&root).unwrap();
        let mut record = UndoRecord::new(&directory, None);
        record.version = 2;
        record.add(Step::Directory { path: "/x".into() }, &directory).unwrap();
        assert!(UndoRecord::read(&directory).unwrap_err().to_string().contains("version is 2"));
    }

    use super::super::directory;
}
