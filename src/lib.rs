//! envol: volumes encrypted under a KMS key, for databases that you run yourself.
//!
//! Data goes one way: `kernel -> fuse -> volume -> cipher, store`. `docs/architecture.md` has the drawing.

pub mod catalog;
pub mod cipher;
pub mod cli;
pub mod daemon;
pub mod drill;
pub mod format;
pub mod fuse;
pub mod host;
pub mod measure;
pub mod revocation;
pub mod secret;
pub mod snapshot;
pub mod store;
pub mod volume;
