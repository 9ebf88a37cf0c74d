//! What this host knows of a volume that its image must not be able to change.
//!
//! The header names the KMS key to ask. Whoever can write to the image, and not to the root directory, must not be
//! able to make the volume ask another key; so the name is kept twice, and the two must agree.

use std::fs;
use std::io;
use std::path::Path;

use kms_client::KmsKeyArn;
use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::paths::{VolumePaths, write_durably};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Binding {
    pub(super) kms_key: KmsKeyArn,
}

impl Binding {
    const FILE_NAME: &str = "binding.json";

    /// Into the directory of a volume.
    pub(super) fn write(&self, dir: &Path) -> Result<(), CatalogError> {
        let path = dir.join(Self::FILE_NAME);
        let json = serde_json::to_vec_pretty(self).map_err(|error| CatalogError::io("write", &path)(error.into()))?;
        write_durably(&path, &json).map_err(CatalogError::io("write", &path))
    }

    /// Refuses a header that names another KMS key. A volume whose directory was made by hand has no binding.
    pub(super) fn check(paths: &VolumePaths, named: &KmsKeyArn) -> Result<(), CatalogError> {
        let path = paths.dir().join(Self::FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(CatalogError::io("read", &path)(error)),
        };
        let not_ours = |problem| CatalogError::NotOurs { id: paths.id().clone(), problem };
        let binding: Self = serde_json::from_slice(&bytes)
            .map_err(|error| not_ours(format!("{} cannot be understood ({error})", path.display())))?;
        if binding.kms_key == *named {
            Ok(())
        } else {
            Err(not_ours(format!("its header names the KMS key {named}, but it was created under {}", binding.kms_key)))
        }
    }
}
