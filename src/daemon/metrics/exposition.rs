//! The metrics of one volume in the text format of Prometheus (`docs/monitoring.md` has the table).
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>, names by <https://prometheus.io/docs/practices/naming/>.

use std::fmt::Error;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Counters;
use crate::catalog::VolumeSummary;
use crate::daemon::LiveStatus;
use crate::measure::Histogram;

/// All that a volume can be in.
const STATES: [&str; 5] = ["available", "in-use", "recoverable", "terminal", "error"];

/// `volume` already has what the daemon says of its state. Without `live`, no daemon answers.
pub fn exposition(volume: &VolumeSummary, live: Option<&LiveStatus>) -> String {
    let mut labels = vec![("volume_id".into(), volume.volume_id.to_string().into())];
    // Not known of one whose header is damaged.
    labels.extend(volume.db_id.clone().map(|db_id| ("db_id".into(), db_id.into())));
    let mut registry = Registry::with_prefix_and_labels("envol", labels.into_iter());
    registry.register_collector(Box::new(Volume { volume: volume.clone(), live: live.cloned() }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a String takes everything");
    text
}

#[derive(Debug)]
struct Volume {
    volume: VolumeSummary,
    live: Option<LiveStatus>,
}

impl Collector for Volume {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Self { volume, live } = self;
        let live = live.as_ref();
        let mut state = encoder.encode_descriptor(
            "volume_state",
            "Whether the volume is in this state: 1 for one of them",
            None,
            MetricType::Gauge,
        )?;
        for name in STATES {
            state.encode_family(&[("state", name)])?.encode_gauge(&u64::from(name == volume.state))?;
        }
        gauge(
            &mut encoder,
            "daemon_up",
            "Whether the daemon of the volume answers",
            None,
            Some(u64::from(live.is_some())),
        )?;
        let time = |at: Timestamp| at.as_millisecond() as f64 / 1000.0;
        let seconds = Some(&Unit::Seconds);
        let bytes = Some(&Unit::Bytes);
        gauge(
            &mut encoder,
            "volume_state_since_timestamp",
            "Since when it is in this state",
            seconds,
            volume.since.map(time),
        )?;
        gauge(&mut encoder, "volume_size", "Size of the volume", bytes, volume.size_bytes)?;
        gauge(
            &mut encoder,
            "volume_allocated",
            "What its image takes of the file system it lies on",
            bytes,
            volume.allocated_bytes,
        )?;
        let snapshot = volume.last_snapshot.as_ref().map(|last| time(last.created_at));
        gauge(&mut encoder, "last_snapshot_timestamp", "The moment that the newest snapshot shows", seconds, snapshot)?;
        let verified = live.and_then(|live| live.verified_at).map(time);
        gauge(&mut encoder, "key_verified_timestamp", "When KMS last confirmed the key", seconds, verified)?;
        let unverified = live.map_or(0, |live| live.unverified_s);
        gauge(
            &mut encoder,
            "key_unverified",
            "For how long KMS has not confirmed the key; 0 while it does",
            seconds,
            Some(unverified),
        )?;
        match live.and_then(|live| live.counters.as_ref()) {
            Some(counters) => counted(&mut encoder, counters),
            None => Ok(()),
        }
    }
}

fn counted(encoder: &mut DescriptorEncoder<'_>, counters: &Counters) -> Result<(), Error> {
    let Counters { io, probes } = counters;
    let mut durations = encoder.encode_descriptor(
        "request_duration",
        "From the arrival of a request until its answer is made",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (kind, requests) in io.kinds() {
        histogram(durations.encode_family(&[("request", kind)])?, &requests.latency)?;
    }
    let bytes = io.kinds().map(|(kind, requests)| (kind.to_owned(), requests.bytes));
    let has_bytes = bytes.into_iter().filter(|(kind, _)| kind != "sync");
    counter(encoder, "request", "Bytes of requests that succeeded", Some(&Unit::Bytes), "request", has_bytes)?;
    let errors = io.errors.kinds().map(|(kind, count)| (kind.to_owned(), count));
    counter(encoder, "request_errors", "Requests that failed", None, "error", errors)?;
    let regions = io.region_written_bytes.iter().enumerate().map(|(region, bytes)| (region.to_string(), *bytes));
    let help = "Whole blocks encrypted under the key of a region of 1 TiB";
    counter(encoder, "region_written", help, Some(&Unit::Bytes), "region", regions)?;

    let durations = encoder.encode_descriptor(
        "probe_duration",
        "From a question to KMS until its answer",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    histogram(durations, &probes.latency)?;
    let answers = probes.answers.kinds().map(|(kind, count)| (kind.to_owned(), count));
    counter(encoder, "probes", "Answers of KMS, by what they mean for the volume", None, "answer", answers)
}

/// One that has no value is left out.
fn gauge<N: prometheus_client::encoding::EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: Option<N>,
) -> Result<(), Error> {
    match value {
        Some(value) => encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value),
        None => Ok(()),
    }
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    label: &str,
    values: impl IntoIterator<Item = (String, u64)>,
) -> Result<(), Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Counter)?;
    for (value, count) in values {
        family.encode_family(&[(label, value.as_str())])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    Ok(())
}

fn histogram(mut encoder: MetricEncoder<'_>, histogram: &Histogram) -> Result<(), Error> {
    let buckets: Vec<(f64, u64)> = histogram.buckets_s().collect();
    encoder.encode_histogram::<NoLabelSet>(histogram.sum_s(), histogram.total(), &buckets, None)
}
