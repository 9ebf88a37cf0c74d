//! What the volume knows as `std::sync` and `crossbeam_utils::sync`.

pub use shuttle::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock as ShardedLock, RwLockReadGuard as ShardedLockReadGuard,
    atomic,
};

/// The standard library's: nothing that can wait is called while one is set.
pub use std::sync::OnceLock;
