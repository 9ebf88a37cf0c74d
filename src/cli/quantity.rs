//! Sizes and durations as people write them.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::format::RevocationPolicy;

/// Binary units, as for every volume: `16MiB`, `2GiB`, `1T`, `1073741824`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "not a size; write for example 10GiB".to_owned())?;
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        decimal @ ("KB" | "MB" | "GB" | "TB") => {
            return Err(format!("{decimal} is a power of ten; volumes are sized in KiB, MiB, GiB or TiB"));
        }
        _ => return Err("not a size; write for example 10GiB".to_owned()),
    };
    number.checked_mul(1 << shift).ok_or_else(|| "larger than any volume".to_owned())
}

/// `10s`, `500ms`, `1m30s`; more than zero, at most a day.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let duration: jiff::SignedDuration =
        text.parse().map_err(|_| "not a duration; write for example 10s or 1m30s".to_owned())?;
    let duration = Duration::try_from(duration).map_err(|_| "a duration is not negative".to_owned())?;
    if duration.is_zero() || duration > DAY {
        return Err("a duration is longer than nothing and at most a day".to_owned());
    }
    Ok(duration)
}

/// In place of a duration.
pub(super) const AS_LONG_AS_IT_TAKES: &str = "forever";

/// A duration, or [`Duration::MAX`] for as long as it takes.
pub fn parse_patience(text: &str) -> Result<Duration, String> {
    if text == AS_LONG_AS_IT_TAKES { Ok(Duration::MAX) } else { parse_duration(text) }
}

/// `8d`, `1y`, `12h`; more than zero, at most a hundred years. A day has 24 hours, a year 365 days.
pub fn parse_long_duration(text: &str) -> Result<Duration, String> {
    let invalid = || "not a duration; write for example 8d, 36h or 1y".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| invalid())?;
    let whole_days = i64::from(span.get_years()) * 365 + i64::from(span.get_weeks()) * 7 + i64::from(span.get_days());
    let clock = span.years(0).weeks(0).days(0);
    let clock = jiff::SignedDuration::try_from(clock).map_err(|_| invalid())?;
    let duration =
        Duration::try_from(jiff::SignedDuration::from_hours(24 * whole_days) + clock).map_err(|_| invalid())?;
    if duration.is_zero() || whole_days > 36_500 {
        return Err("longer than nothing, and at most a hundred years".to_owned());
    }
    Ok(duration)
}

/// `terminal`, `erase`, or `recoverable=7d`; without a time it is RDS's, a week.
pub fn parse_policy(text: &str) -> Result<RevocationPolicy, String> {
    match text.split_once('=') {
        None if text == "terminal" => Ok(RevocationPolicy::Terminal),
        None if text == "erase" => Ok(RevocationPolicy::Erase),
        None if text == "recoverable" => Ok(RevocationPolicy::RECOVERABLE_A_WEEK),
        Some(("recoverable", window)) => {
            let seconds = u32::try_from(parse_long_duration(window)?.as_secs()).ok().and_then(NonZeroU32::new);
            let window_s = seconds.ok_or("the window is a second at least, and at most a hundred years")?;
            Ok(RevocationPolicy::Recoverable { window_s })
        }
        _ => Err("not a policy; write terminal, recoverable=7d or erase".to_owned()),
    }
}

/// For people: whole binary units, or with one decimal.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (name, shift) in UNITS {
        if bytes >> shift > 0 {
            let tenths = (bytes >> (shift - 10)) * 10 / 1024;
            return match tenths % 10 {
                0 => format!("{}{name}", tenths / 10),
                tenth => format!("{}.{tenth}{name}", tenths / 10),
            };
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("16MiB", 16 << 20),
            ("2GiB", 2 << 30),
            ("64TiB", 64 << 40),
            ("1T", 1 << 40),
            ("4096", 4096),
            ("10 GiB", 10 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GiB", "-1GiB", "1.5GiB", "10GB", "10XiB", "99999999999TiB", "1e3"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [("10s", 10_000), ("500ms", 500), ("1m30s", 90_000), ("1m 30s", 90_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "10", "0s", "-1s", "25h", "soon"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, text) in
            [(2 << 30, "2GiB"), (3 << 29, "1.5GiB"), (16 << 20, "16MiB"), (1 << 40, "1TiB"), (512, "512B")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
