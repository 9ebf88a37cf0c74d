//! A point in time on both clocks: the one that people read, and the one that is not set while a drill runs.

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Processes of one host can compare theirs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: Timestamp,
    pub(super) monotonic_us: i64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { wall: Timestamp::now(), monotonic_us: monotonic_us() }
    }

    /// Milliseconds from `self` to a reading of the monotonic clock; below zero when that was before.
    pub(super) fn ms_until(&self, monotonic_us: i64) -> f64 {
        to_ms(monotonic_us - self.monotonic_us)
    }

    /// The same for a time of the wall clock, such as an event's.
    pub(super) fn ms_until_wall(&self, at: Timestamp) -> f64 {
        to_ms(i64::try_from(at.duration_since(self.wall).as_micros()).unwrap_or(i64::MAX))
    }
}

/// `CLOCK_MONOTONIC`, in microseconds.
pub(super) fn monotonic_us() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[allow(clippy::cast_precision_loss, reason = "a drill lasts for minutes")]
pub(super) fn to_ms(us: i64) -> f64 {
    us as f64 / 1000.0
}
