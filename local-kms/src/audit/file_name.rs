//! The names of the log's files: the current one, and those that were full, by the time at which that was.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub(super) const CURRENT: &str = "audit.jsonl";

const ROTATED: &str = "audit-%Y%m%dT%H%M%S.%3fZ.jsonl";

/// In whole milliseconds, which is what the name says.
pub(super) fn rotated(time: Timestamp) -> String {
    time.strftime(ROTATED).to_string()
}

/// When the full files of `dir` were, oldest first. Names that the server would not have given are not among them.
pub(super) fn rotation_times(dir: &Path) -> io::Result<Vec<Timestamp>> {
    let mut times = Vec::new();
    for entry in dir.read_dir()? {
        times.extend(entry?.file_name().to_str().and_then(rotation_time));
    }
    times.sort_unstable();
    Ok(times)
}

fn rotation_time(name: &str) -> Option<Timestamp> {
    let time = TimeZone::UTC.to_timestamp(DateTime::strptime(ROTATED, name).ok()?).ok()?;
    (rotated(time) == name).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_its_time_and_no_other_name_is_taken_for_one() {
        let name = "audit-20261124T172028.123Z.jsonl";
        let time = "2026-11-24T17:20:28.123Z".parse().unwrap();
        assert_eq!((rotated(time), rotation_time(name)), (name.to_owned(), Some(time)));
        for other in [
            CURRENT,
            "audit-20261124T172028Z.jsonl",
            "audit-20261124T172028.1230Z.jsonl",
            "audit-20261124T172028.123.jsonl",
            "audit-20261324T172028.123Z.jsonl",
            "audit-20261124T172028.123Z.jsonl.gz",
            "audit-old.jsonl",
        ] {
            assert_eq!(rotation_time(other), None, "{other}");
        }
    }
}
