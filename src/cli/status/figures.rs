//! What was counted, as figures: since the volume was attached, or within an interval.

use serde_json::{Map, Value, json};

use crate::daemon::Counters;
use crate::fuse::{IoCounters, RequestCounters};
use crate::measure::Histogram;
use crate::revocation::ProbeCounters;

/// What was done between two looks at the same daemon.
pub(super) struct Interval {
    pub(super) seconds: f64,
    pub(super) kinds: Vec<(&'static str, Rates)>,
    /// Requests that failed.
    pub(super) errors: u64,
}

pub(super) struct Rates {
    pub(super) requests_per_s: f64,
    pub(super) bytes_per_s: f64,
    pub(super) latency: Histogram,
}

impl Interval {
    pub(super) fn between(earlier: &Counters, later: &Counters, seconds: f64) -> Self {
        let kinds = earlier.io.kinds().into_iter().zip(later.io.kinds());
        Self {
            seconds,
            kinds: kinds.map(|((_, earlier), (name, later))| (name, Rates::between(earlier, later, seconds))).collect(),
            errors: later.io.errors.total().saturating_sub(earlier.io.errors.total()),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object: Map<String, Value> = self
            .kinds
            .iter()
            .map(|(name, rates)| {
                let mut figures = json!({
                    "requests_per_s": tenths(rates.requests_per_s),
                    "bytes_per_s": rates.bytes_per_s.round(),
                });
                add_latency(&mut figures, &rates.latency);
                ((*name).to_owned(), figures)
            })
            .collect();
        object.insert("seconds".to_owned(), json!(self.seconds));
        object.insert("errors".to_owned(), json!(self.errors));
        Value::Object(object)
    }
}

impl Rates {
    fn between(earlier: &RequestCounters, later: &RequestCounters, seconds: f64) -> Self {
        let latency = later.latency.since(&earlier.latency);
        Self {
            requests_per_s: latency.total() as f64 / seconds,
            bytes_per_s: later.bytes.saturating_sub(earlier.bytes) as f64 / seconds,
            latency,
        }
    }
}

/// Since the volume was attached.
pub(super) fn io(io: &IoCounters) -> Value {
    let mut object: Map<String, Value> = io
        .kinds()
        .into_iter()
        .map(|(name, requests)| {
            let mut figures = json!({ "requests": requests.latency.total(), "bytes": requests.bytes });
            add_latency(&mut figures, &requests.latency);
            (name.to_owned(), figures)
        })
        .collect();
    let errors: Map<String, Value> =
        io.errors.kinds().into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    object.insert("errors".to_owned(), Value::Object(errors));
    object.insert("region_written_bytes".to_owned(), json!(io.region_written_bytes));
    Value::Object(object)
}

pub(super) fn probes(probes: &ProbeCounters) -> Value {
    let answers: Map<String, Value> =
        probes.answers.kinds().into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    let mut figures = json!({ "answers": answers, "last": probes.last });
    add_latency(&mut figures, &probes.latency);
    figures
}

/// Of none there are none.
fn add_latency(figures: &mut Value, latency: &Histogram) {
    let us = |part| latency.quantile(part).map(|took| tenths(took.as_secs_f64() * 1e6));
    figures["p50_us"] = json!(us(0.5));
    figures["p99_us"] = json!(us(0.99));
    figures["max_us"] = json!(us(1.0));
}

fn tenths(figure: f64) -> f64 {
    (figure * 10.0).round() / 10.0
}
