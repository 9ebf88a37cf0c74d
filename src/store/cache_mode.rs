//! Whether what is read and written stays in the kernel's page cache for a while: in QEMU's words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheMode {
    /// Past it, straight from and to the disk.
    None,
    /// Writes come to the disk when the kernel thinks fit, or with a sync.
    Writeback,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is neither none nor writeback")]
pub struct UnknownCacheMode(String);

impl FromStr for CacheMode {
    type Err = UnknownCacheMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "writeback" => Ok(Self::Writeback),
            _ => Err(UnknownCacheMode(text.to_owned())),
        }
    }
}

impl fmt::Display for CacheMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Writeback => "writeback",
        })
    }
}
