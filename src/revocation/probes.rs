//! The probes of the guardian: when the last yes began, a bell for one that is due now, and what was counted of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::decision::Verdict;
use super::heartbeat::{millis, since_boot};
use crate::measure::{AtomicHistogram, Histogram};

/// Enough to see at a glance how it goes.
const LAST_ANSWERS: usize = 8;

/// Shared by guardian and heartbeat, and with whoever wants to know.
#[derive(Default)]
pub struct Probes {
    /// Milliseconds since boot, as [`since_boot`] has them.
    confirmed_ms: AtomicU64,
    now: Notify,
    latency: AtomicHistogram,
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    answers: AnswerCounters,
    last: VecDeque<ProbeAnswer>,
}

/// By what they mean for the volume: the decision table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnswerCounters {
    pub ok: u64,
    pub denied: u64,
    pub revoked: u64,
    pub unreachable: u64,
    pub mismatch: u64,
}

/// Since the volume is served.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeCounters {
    pub answers: AnswerCounters,
    /// From the question until its answer or its time-out, connecting included.
    pub latency: Histogram,
    /// The newest, oldest first.
    pub last: Vec<ProbeAnswer>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeAnswer {
    pub at: Timestamp,
    /// One of [`AnswerCounters::kinds`].
    pub answer: String,
    pub took_us: u64,
}

impl AnswerCounters {
    pub fn kinds(&self) -> [(&'static str, u64); 5] {
        [
            ("ok", self.ok),
            ("denied", self.denied),
            ("revoked", self.revoked),
            ("unreachable", self.unreachable),
            ("mismatch", self.mismatch),
        ]
    }

    /// `None` is the yes.
    fn count(&mut self, verdict: Option<Verdict>) -> &'static str {
        let (name, counter) = match verdict {
            None => ("ok", &mut self.ok),
            Some(Verdict::Denied(_)) => ("denied", &mut self.denied),
            Some(Verdict::Revoked(_)) => ("revoked", &mut self.revoked),
            Some(Verdict::Unreachable) => ("unreachable", &mut self.unreachable),
            Some(Verdict::Mismatch) => ("mismatch", &mut self.mismatch),
        };
        *counter += 1;
        name
    }
}

impl Probes {
    pub(super) fn begin(&self) -> Duration {
        since_boot()
    }

    /// `verdict` is `None` for a yes. It has its name from there on, and how long it took.
    pub(super) fn answered(&self, began: Duration, verdict: Option<Verdict>) -> (&'static str, Duration) {
        let took = since_boot().saturating_sub(began);
        if verdict.is_none() {
            self.confirmed_ms.store(millis(began), Ordering::Release);
        }
        self.latency.count(took);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = counted.answers.count(verdict);
        if counted.last.len() == LAST_ANSWERS {
            counted.last.pop_front();
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        counted.last.push_back(ProbeAnswer { at: Timestamp::now(), answer: answer.to_owned(), took_us });
        (answer, took)
    }

    /// Whether KMS has said yes to a probe that began then or later, in milliseconds since boot.
    pub(super) fn is_confirmed_since(&self, since_boot_ms: u64) -> bool {
        self.confirmed_ms.load(Ordering::Acquire) >= since_boot_ms
    }

    pub(super) fn ask_now(&self) {
        self.now.notify_one();
    }

    /// Returns early when a probe is asked for.
    pub(super) async fn wait_until(&self, deadline: Instant) {
        tokio::select! {
            () = sleep_until(deadline) => {}
            () = self.now.notified() => {}
        }
    }

    /// As they stand now.
    pub fn counters(&self) -> ProbeCounters {
        let mut latency = Histogram::default();
        self.latency.add_to(&mut latency);
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        ProbeCounters { answers: counted.answers.clone(), latency, last: counted.last.iter().cloned().collect() }
    }
}
