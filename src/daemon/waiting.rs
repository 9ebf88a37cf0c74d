//! For what the kernel has no event.

use std::thread;
use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Whether it came to that in time. Asked once at least.
pub(super) fn reached_within(deadline: Duration, mut reached: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + deadline;
    loop {
        if reached() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(POLL_INTERVAL);
    }
}
