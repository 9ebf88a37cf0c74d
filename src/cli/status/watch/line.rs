//! One look in one line, where stdout is no terminal; and how figures are written.

use std::time::Duration;

use super::super::figures::{Interval, Rates};
use super::super::to_the_second;
use super::Sample;

pub(super) fn plain(sample: &Sample, interval: Option<&Interval>) -> String {
    let mut parts = vec![to_the_second(sample.at).to_string(), sample.merged.on_disk.state.clone()];
    match &sample.merged.live {
        None => parts.push(without_daemon(&sample.merged.on_disk.state).to_owned()),
        Some(live) if live.unverified_s > 0 || live.last_kms_error.is_some() => {
            parts.push(format!("key unverified for {} s", live.unverified_s));
        }
        Some(_) => parts.push("key verified".to_owned()),
    }
    if let Some(interval) = interval {
        parts.extend(interval.kinds.iter().map(|(name, rates)| rate(name, rates)));
        parts.push(format!("errors {}", interval.errors));
    }
    parts.join("  ").chars().filter(|c| !c.is_control()).collect()
}

/// One that is in use has a daemon that does not answer; the cause says more.
pub(super) fn without_daemon(state: &str) -> &'static str {
    if state == "in-use" { "does not answer" } else { "not attached" }
}

fn rate(name: &str, rates: &Rates) -> String {
    let bytes = if name == "sync" { String::new() } else { format!(" {} MB/s", megabytes(rates.bytes_per_s)) };
    let p99 = rates.latency.quantile(0.99).map_or_else(String::new, |p99| format!(" p99 {}", duration(p99)));
    format!("{name} {}/s{bytes}{p99}", number(rates.requests_per_s))
}

pub(super) fn number(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

pub(super) fn megabytes(bytes_per_s: f64) -> String {
    let megabytes = bytes_per_s / 1e6;
    if megabytes > 0.0 && megabytes < 100.0 { format!("{megabytes:.1}") } else { format!("{megabytes:.0}") }
}

/// Three digits: `850us`, `1.25ms`, `2.1s`.
pub(super) fn duration(took: Duration) -> String {
    let us = took.as_secs_f64() * 1e6;
    let (figure, unit) = match us {
        us if us < 1e3 => (us, "us"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    match figure {
        figure if figure < 10.0 => format!("{figure:.2}{unit}"),
        figure if figure < 100.0 => format!("{figure:.1}{unit}"),
        figure => format!("{figure:.0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let durations = [(900, "0.90us"), (85_000, "85.0us"), (1_250_000, "1.25ms"), (321_000_000, "321ms")];
        for (ns, text) in durations {
            assert_eq!(duration(Duration::from_nanos(ns)), text);
        }
        assert_eq!(duration(Duration::from_millis(2100)), "2.10s");
        assert_eq!((number(0.0), number(0.44), number(1234.4)), ("0".to_owned(), "0.4".to_owned(), "1234".to_owned()));
        assert_eq!((megabytes(0.0), megabytes(4096.0)), ("0".to_owned(), "0.0".to_owned()));
    }
}
