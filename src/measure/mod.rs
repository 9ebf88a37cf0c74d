//! How often and how long: counted by many threads without a cache line between them, summed when somebody asks.

mod histogram;
mod sharded;

pub use histogram::{AtomicHistogram, Histogram};
pub use sharded::Sharded;
