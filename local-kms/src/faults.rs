//! Faults on request: a KMS that is slow, throttles, or is out, for drills. They last until cleared, or until the
//! server ends; nothing of them is stored.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::random;

#[derive(Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

/// One fault, of one operation or of all.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// `None`: every operation.
    pub(crate) operation: Option<String>,
    pub(crate) kind: FaultKind,
    /// `None`: until it is cleared.
    pub(crate) until: Option<Instant>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FaultKind {
    /// The answer comes later, by this long.
    Latency { ms: u64 },
    /// `ThrottlingException` for this share of the calls, in percent.
    Throttling { percent: u8 },
    /// No answer for the key.
    Outage { answer: OutageAnswer },
}

/// What a client sees of an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutageAnswer {
    /// HTTP 500, `KMSInternalException`.
    InternalError,
    /// HTTP 503 without an AWS error, as from a load balancer.
    Unavailable,
    /// Nothing: the client runs into its own time-out.
    Silence,
}

impl Faults {
    /// In place of a fault of the same kind on the same operation.
    pub(crate) fn set(&self, fault: Fault) {
        let mut faults = self.lock();
        faults.retain(|other| {
            other.operation != fault.operation
                || std::mem::discriminant(&other.kind) != std::mem::discriminant(&fault.kind)
        });
        faults.push(fault);
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Those that are in force.
    pub(crate) fn list(&self) -> Vec<Fault> {
        let now = Instant::now();
        let mut faults = self.lock();
        faults.retain(|fault| fault.until.is_none_or(|until| now < until));
        faults.clone()
    }

    pub(crate) fn latency(&self, operation: &str) -> Option<Duration> {
        self.of(operation).find_map(|kind| match kind {
            FaultKind::Latency { ms } => Some(Duration::from_millis(ms)),
            _ => None,
        })
    }

    pub(crate) fn outage(&self, operation: &str) -> Option<OutageAnswer> {
        self.of(operation).find_map(|kind| match kind {
            FaultKind::Outage { answer } => Some(answer),
            _ => None,
        })
    }

    /// Whether this call is one of those that are throttled.
    pub(crate) fn throttles(&self, operation: &str) -> bool {
        let share = self.of(operation).find_map(|kind| match kind {
            FaultKind::Throttling { percent } => Some(percent),
            _ => None,
        });
        share.is_some_and(|percent| {
            let mut byte = [0; 2];
            // Without randomness the fault hits every call: a drill is not silently weaker.
            random::fill(&mut byte).is_err() || u16::from_le_bytes(byte) % 100 < u16::from(percent)
        })
    }

    fn of(&self, operation: &str) -> impl Iterator<Item = FaultKind> {
        let mut faults = self.list();
        // One that names the operation goes before one for all.
        faults.sort_by_key(|fault| fault.operation.is_none());
        let operation = operation.to_owned();
        faults
            .into_iter()
            .filter(move |fault| fault.operation.as_ref().is_none_or(|name| *name == operation))
            .map(|fault| fault.kind)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
