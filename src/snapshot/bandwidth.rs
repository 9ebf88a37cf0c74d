//! A limit on what is uploaded each second, shared by all uploads of a store.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// An object goes out whole once it is paid for, so that the rate is kept on average and from the beginning.
pub(super) struct Bandwidth {
    bytes_per_second: NonZeroU64,
    paid_at: Mutex<Option<Instant>>,
}

impl Bandwidth {
    pub(super) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid_at: Mutex::default() }
    }

    pub(super) async fn pass(&self, bytes: u64) {
        let paid = {
            let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let turn = paid_at.map_or(now, |at| at.max(now));
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
            let paid = turn + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX / 4));
            *paid_at = Some(paid);
            paid
        };
        sleep_until(paid).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_kept_over_many_objects() {
        let bandwidth = Bandwidth::new(NonZeroU64::new(1000).unwrap());
        let start = Instant::now();
        for _ in 0..10 {
            bandwidth.pass(500).await;
        }
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(5) && took < Duration::from_millis(5100), "{took:?}");
    }
}
