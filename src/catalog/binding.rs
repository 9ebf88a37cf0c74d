//! What this host knows of a volume that its image must not be able to change.
//!
//! The header names the KMS key to ask. Whoever can write to the image, and not to the root directory, must not be
//! able to make the volume ask another key; so the name is kept twice, and the two must agree. The grant is kept here
//! alone: it belongs to this host's volume service, not to the data.

use std::fs;
use std::io;
use std::path::Path;

use kms_client::KmsKeyArn;
use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::grant::VolumeGrant;
use super::paths::VolumePaths;
use super::record;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Binding {
    pub(super) kms_key: KmsKeyArn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<VolumeGrant>,
}

impl Binding {
    const FILE_NAME: &str = "binding.json";

    /// Into the directory of a volume.
    pub(super) fn write(&self, dir: &Path) -> Result<(), CatalogError> {
        record::write(&dir.join(Self::FILE_NAME), self)
    }

    /// `None`: a volume whose directory was made by hand.
    pub(super) fn read(paths: &VolumePaths) -> Result<Option<Self>, CatalogError> {
        let path = paths.dir().join(Self::FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CatalogError::io("read", &path)(error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| CatalogError::NotOurs {
            id: paths.id().clone(),
            problem: format!("{} cannot be understood ({error})", path.display()),
        })
    }

    /// Refuses a header that names another KMS key.
    pub(super) fn check(&self, paths: &VolumePaths, named: &KmsKeyArn) -> Result<(), CatalogError> {
        if self.kms_key == *named {
            return Ok(());
        }
        let created = &self.kms_key;
        Err(CatalogError::NotOurs {
            id: paths.id().clone(),
            problem: format!("its header names the KMS key {named}, but it was created under {created}"),
        })
    }
}
