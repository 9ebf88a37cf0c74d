//! What is on the screen, line by line.

use jiff::{SignedDuration, Timestamp};

use super::super::figures::{Interval, Rates};
use super::super::{last_snapshot, next_step, size_and_allocated, to_the_second};
use super::Sample;
use super::history::{self, History};
use super::line::{duration, megabytes, number, without_daemon};
use super::screen::{Line, Paint};
use crate::cli::quantity::size;
use crate::daemon::{Counters, LiveStatus};
use crate::revocation::ProbeCounters;

const LABEL: usize = 11;

/// Of the table, without the sparkline.
const TABLE: usize = 57;

pub(super) fn lines(sample: &Sample, interval: Option<&Interval>, history: &History, width: usize) -> Vec<Line> {
    let volume = &sample.merged.on_disk;
    let live = sample.merged.live.as_ref();
    let mut lines = vec![title(sample, width), Vec::new()];
    let mut add = |label: &str, paint, text: String| {
        lines.push(vec![(Paint::Dim, format!("{label:<LABEL$}")), (paint, text)]);
    };
    let since = volume
        .since
        .map_or_else(String::new, |since| format!(" since {}, for {}", to_the_second(since), age(since, sample.at)));
    add("state", state_paint(&volume.state), format!("{}{since}", volume.state));
    if let Some(cause) = &volume.cause {
        add("cause", Paint::Bad, cause.clone());
    }
    if let Some(next) = next_step(volume, live.is_some()) {
        add("next", Paint::Warning, next);
    }
    match live {
        Some(live) => {
            let (paint, text) = key(live, sample.at);
            add("key", paint, text);
        }
        None => add("daemon", Paint::Warning, without_daemon(&volume.state).to_owned()),
    }
    let counters = sample.merged.counters();
    if let Some(counters) = counters {
        add("probes", Paint::Plain, probes(&counters.probes));
        let last: Vec<&str> = counters.probes.last.iter().map(|last| last.answer.as_str()).collect();
        let all_ok = last.iter().all(|answer| *answer == "ok");
        add("", if all_ok { Paint::Dim } else { Paint::Warning }, format!("last: {}", last.join(" ")));
    }
    if let Some(bytes) = volume.size_bytes {
        add("size", Paint::Plain, size_and_allocated(bytes, volume.allocated_bytes));
    }
    match &volume.last_snapshot {
        Some(last) => add("snapshot", Paint::Plain, last_snapshot(last)),
        None => add("snapshot", Paint::Warning, "none".to_owned()),
    }
    if let Some(mount_point) = live.and_then(|live| live.mount_point.as_ref()) {
        add("mounted on", Paint::Plain, mount_point.clone());
    }
    lines.push(Vec::new());
    lines.extend(table(counters, interval, history, width, live.is_some()));
    lines
}

fn title(sample: &Sample, width: usize) -> Line {
    let volume = &sample.merged.on_disk;
    let name = format!("{}  {}", volume.volume_id, volume.db_id.as_deref().unwrap_or("?"));
    let time = to_the_second(sample.at).to_string();
    let gap = width.saturating_sub(name.chars().count() + time.len()).max(2);
    vec![(Paint::Bold, name), (Paint::Dim, format!("{:gap$}{time}", ""))]
}

fn state_paint(state: &str) -> Paint {
    match state {
        "in-use" => Paint::Good,
        "available" => Paint::Plain,
        "recoverable" => Paint::Warning,
        _ => Paint::Bad,
    }
}

fn key(live: &LiveStatus, now: Timestamp) -> (Paint, String) {
    match (&live.last_kms_error, live.verified_at) {
        (Some(error), _) => (Paint::Bad, format!("unverified for {} s: {error}", live.unverified_s)),
        (None, Some(at)) => (Paint::Good, format!("verified {} ago", age(at, now))),
        (None, None) => (Paint::Warning, "never verified".to_owned()),
    }
}

fn probes(probes: &ProbeCounters) -> String {
    let answers = probes.answers.kinds().into_iter().filter(|(name, count)| *count > 0 || *name == "ok");
    let mut parts: Vec<String> = answers.map(|(name, count)| format!("{name} {count}")).collect();
    for (name, part) in [("p50", 0.5), ("p99", 0.99)] {
        parts.extend(probes.latency.quantile(part).map(|took| format!("{name} {}", duration(took))));
    }
    parts.extend(
        probes
            .last
            .last()
            .map(|last| format!("the last took {}", duration(std::time::Duration::from_micros(last.took_us)))),
    );
    parts.join("  ")
}

fn table(
    counters: Option<&Counters>,
    interval: Option<&Interval>,
    history: &History,
    width: usize,
    is_live: bool,
) -> Vec<Line> {
    let Some(counters) = counters else {
        let text = if is_live { "its daemon is of an earlier version and counts nothing" } else { "" };
        return vec![vec![(Paint::Warning, text.to_owned())]];
    };
    let spark = width.saturating_sub(TABLE + 1).min(history::LENGTH);
    let (requests, rate) = ("requests/s", "MB/s");
    let caption = if spark >= 8 { format!(" last {spark} s") } else { String::new() };
    let header = format!("{:<LABEL$}{requests:>10}{rate:>9}{:>9}{:>9}{:>9}{caption}", "", "p50", "p99", "max");
    let mut lines = vec![vec![(Paint::Dim, header)]];
    for (index, (name, _)) in counters.io.kinds().iter().enumerate() {
        let rates = interval.and_then(|interval| interval.kinds.get(index)).map(|(_, rates)| rates);
        let busy = rates.is_some_and(|rates| rates.requests_per_s > 0.0);
        let paint = if busy { Paint::Plain } else { Paint::Dim };
        let row = format!("{name:<LABEL$}{}", row(name, rates));
        lines.push(vec![(paint, row), (Paint::Good, format!(" {}", history.sparkline(index, spark)))]);
    }
    let io = &counters.io;
    let total = format!("{:<LABEL$}read {}, written {}", "in all", size(io.read.bytes), size(io.write.bytes));
    let errors: Vec<String> = io
        .errors
        .kinds()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let (paint, text) =
        if errors.is_empty() { (Paint::Plain, "none".to_owned()) } else { (Paint::Bad, errors.join("  ")) };
    lines.extend([
        Vec::new(),
        vec![(Paint::Plain, total)],
        vec![(Paint::Dim, format!("{:<LABEL$}", "errors")), (paint, text)],
    ]);
    lines
}

fn row(name: &str, rates: Option<&Rates>) -> String {
    let Some(rates) = rates else { return format!("{:>10}{:>9}{:>9}{:>9}{:>9}", "-", "-", "-", "-", "-") };
    let bytes = if name == "sync" { "-".to_owned() } else { megabytes(rates.bytes_per_s) };
    let quantile = |part| rates.latency.quantile(part).map_or_else(|| "-".to_owned(), duration);
    let longest = rates.latency.longest().map_or_else(|| "-".to_owned(), |took| format!("<{}", duration(took)));
    let requests = number(rates.requests_per_s);
    format!("{requests:>10}{bytes:>9}{:>9}{:>9}{longest:>9}", quantile(0.5), quantile(0.99))
}

fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    format!("{:#}", SignedDuration::from_secs(seconds))
}
