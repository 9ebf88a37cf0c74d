//! The volume key: the locked area it lives in, every key derived from it, and how it is unwrapped.

mod area;
mod derive;
mod keys;
mod stack;
pub mod unwrap;

#[cfg(test)]
mod tests;

use std::io;

use crate::cipher::EqualHalves;

pub use area::{LockedArea, LockedBox, Protection};
pub use keys::{ChangeDetectionKey, HeaderMacKey, SealingKey, VolumeKey};
pub use stack::with_clean_cipher_stack;
pub use unwrap::{HelperError, UnwrapError, UnwrapRequest, is_unwrap_helper, run_unwrap_helper, unwrap_volume_key};

/// Why a secret could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The host lacks something: more locked memory.
    #[error(
        "cannot lock {} KiB of memory for keys (RLIMIT_MEMLOCK is {}); raise it with `ulimit -l 8192`, or \
         `LimitMEMLOCK=8M` in the unit file",
        LockedArea::LEN_BYTES / 1024,
        .limit_bytes.map_or_else(|| "unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
    )]
    NotLocked { limit_bytes: Option<u64>, source: io::Error },
    #[error("the locked area for keys is full: {wanted_bytes} bytes wanted, {free_bytes} free")]
    AreaFull { wanted_bytes: usize, free_bytes: usize },
    /// Less likely than a broken memory module; the volume key must not be used.
    #[error(transparent)]
    EqualHalves(#[from] EqualHalves),
}
