//! A small JSON file in a volume's directory.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CatalogError;
use super::paths::write_durably;

/// `None`: there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, CatalogError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|error| CatalogError::io("understand", path)(error.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CatalogError::io("read", path)(error)),
    }
}

/// Whole or not at all; durable on return.
pub(super) fn write(path: &Path, record: &impl Serialize) -> Result<(), CatalogError> {
    let json = serde_json::to_vec_pretty(record).map_err(|error| CatalogError::io("write", path)(error.into()))?;
    write_durably(path, &json).map_err(CatalogError::io("write", path))
}
