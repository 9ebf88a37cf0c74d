//! Serving goes on only while the guardian is awake: after a suspend, or after this process was stopped, KMS answers before
//! the next byte is served.

use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;

use super::probes::Probes;

/// A busy machine wakes a process late by less.
const SHORTEST_GAP: Duration = Duration::from_secs(1);

/// What serves: it stops answering, without failing, when the time it was given has run out.
pub trait Lease: Send + Sync {
    /// Serving may go on for so long from now, measured by a clock that goes on while the machine is suspended.
    fn extend(&self, duration: Duration);
}

/// Gives [`Lease`] its time, in steps much shorter than two probe intervals.
pub struct Heartbeat {
    pub probe_interval: Duration,
    pub probes: Arc<Probes>,
    pub lease: Box<dyn Lease>,
}

impl Heartbeat {
    /// Does not return. Cancel by dropping: the lease then runs out by itself.
    pub async fn beat(&self) {
        let gap = (self.probe_interval * 2).max(SHORTEST_GAP);
        let mut last = since_boot();
        let mut needs_probe_after = None;
        loop {
            let now = since_boot();
            if now.saturating_sub(last) > gap {
                tracing::warn!("this process did not run for {:?}: KMS is asked before anything is served", now - last);
                needs_probe_after = Some(millis(now));
                self.probes.ask_now();
            }
            last = now;
            if needs_probe_after.is_some_and(|after| self.probes.is_confirmed_since(after)) {
                needs_probe_after = None;
            }
            // While an answer is awaited it is looked for more often.
            let pause = match needs_probe_after {
                None => {
                    self.lease.extend(gap);
                    gap / 8
                }
                Some(_) => Duration::from_millis(10),
            };
            sleep(pause).await;
        }
    }
}

/// `CLOCK_BOOTTIME`: goes on while the machine is suspended, and is the same for all processes.
pub(super) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

pub(super) fn millis(since_boot: Duration) -> u64 {
    u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX)
}
