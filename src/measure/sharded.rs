//! A place for each thread to count in, so that counting costs no more with many threads than with one.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// More than the threads that answer requests: no two of these share one. Beyond that they do, which is slower and as right.
const SHARDS: usize = 64;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Which one is this thread's, from its first count on.
    static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

#[derive(Debug)]
pub struct Sharded<T>(Box<[CachePadded<T>]>);

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| CachePadded::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// The one of this thread.
    pub fn mine(&self) -> &T {
        &self.0[MINE.with(|mine| *mine)]
    }

    /// All of them, to be summed.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|shard| &**shard)
    }
}
