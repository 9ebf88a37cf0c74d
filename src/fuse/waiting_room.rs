//! Where requests go that have to wait for the disk, so that somebody is always there to receive the next one.
//!
//! A sync takes as long as hundreds of reads from the cache, and how much a disk does at once is decided by how many ask it;
//! but each thread more that receives requests makes every small one slower.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// As many as a fast disk can be asked by at once. They come as they are needed.
const THREADS: usize = 32;

/// For good: without any thread, a host that has none left to give would end the daemon with the next request.
const KEEP_ALIVE: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) struct WaitingRoom {
    /// Of tokio's runtime only the threads for what blocks.
    threads: Runtime,
    /// Receivers that wait themselves, and how many at most.
    waiting: AtomicUsize,
    may_wait: usize,
}

impl WaitingRoom {
    pub(super) fn new(may_wait: usize) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        builder.max_blocking_threads(THREADS).thread_keep_alive(KEEP_ALIVE).thread_name("fuse-waits");
        let threads = builder.build()?;
        // The first: a host that has no thread left ends the attach here, and no volume that is served.
        threads.spawn_blocking(|| {});
        Ok(Self { threads, waiting: AtomicUsize::new(0), may_wait })
    }

    /// For whoever must not wait and is no receiver.
    pub(super) fn threads(&self) -> Handle {
        self.threads.handle().clone()
    }

    /// By a receiver. It waits itself while others are left to receive, which saves a lone request the way to another
    /// thread; says whether it did. `request` answers itself.
    pub(super) fn enter(&self, request: impl FnOnce() + Send + 'static) -> bool {
        let waits = self.waiting.fetch_add(1, Ordering::Relaxed) < self.may_wait;
        if waits {
            request();
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.threads.spawn_blocking(request);
        }
        waits
    }
}
