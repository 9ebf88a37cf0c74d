//! How often it is said again that KMS is away: often enough to be seen, seldom enough that a day of it stays readable.

use std::time::Duration;

use tokio::time::Instant;

/// In the first hour somebody looks on and mends it.
const FIRST_HOUR: Duration = Duration::from_secs(3600);
const REMINDER: Duration = Duration::from_secs(60);
const LATER_REMINDER: Duration = Duration::from_secs(15 * 60);

#[derive(Clone, Debug)]
pub(super) struct Outage {
    began: Instant,
    said: Instant,
}

impl Outage {
    /// It is said when it begins.
    pub(super) fn begins() -> Self {
        let now = Instant::now();
        Self { began: now, said: now }
    }

    /// Whether it is time to say it again; then it counts as said.
    pub(super) fn is_to_be_said(&mut self) -> bool {
        let now = Instant::now();
        let pause = if now - self.began < FIRST_HOUR { REMINDER } else { LATER_REMINDER };
        let due = now - self.said >= pause;
        if due {
            self.said = now;
        }
        due
    }
}
