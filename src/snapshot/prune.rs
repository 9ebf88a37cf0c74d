//! Which snapshots of a volume are kept, by rules like those of restic: the newest of each of the last so many periods.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::format::SnapshotId;

use super::SnapshotHeader;

/// How many to keep of each; a snapshot stays that one rule keeps. Periods are those of UTC, and those without a snapshot do not
/// count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepRules {
    pub last: u32,
    pub hourly: u32,
    pub daily: u32,
    /// ISO 8601: they begin on Monday.
    pub weekly: u32,
    pub monthly: u32,
}

/// A time to what names its period, as text that sorts with nothing.
type Period = fn(&Zoned) -> String;

impl KeepRules {
    /// Those of one volume that go, oldest first. Rules that keep nothing at all let all go: refuse them where they are
    /// given.
    pub fn plan(&self, headers: &[SnapshotHeader]) -> Vec<SnapshotId> {
        let taken = headers.iter().map(|header| (header.draft.created_at, header.id().clone())).collect();
        self.plan_of(taken)
    }

    pub fn keep_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn plan_of(self, mut taken: Vec<(Timestamp, SnapshotId)>) -> Vec<SnapshotId> {
        taken.sort();
        let rules: [(u32, Period); 4] = [
            (self.hourly, |time| time.strftime("%Y-%m-%d %H").to_string()),
            (self.daily, |time| time.strftime("%Y-%m-%d").to_string()),
            (self.weekly, |time| time.strftime("%G-%V").to_string()),
            (self.monthly, |time| time.strftime("%Y-%m").to_string()),
        ];
        let newest_first = || taken.iter().rev();
        let last = usize::try_from(self.last).unwrap_or(usize::MAX);
        let mut kept: BTreeSet<&SnapshotId> = newest_first().take(last).map(|(_, id)| id).collect();
        for (mut left, period) in rules {
            let mut before = None;
            for (at, id) in newest_first() {
                let this = Some(period(&at.to_zoned(TimeZone::UTC)));
                if left > 0 && this != before {
                    kept.insert(id);
                    left -= 1;
                }
                before = this;
            }
        }
        taken.iter().map(|(_, id)| id).filter(|id| !kept.contains(id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(rules: KeepRules, times: &[&str]) -> Vec<String> {
        let id = |index: usize| format!("snap-{index}").parse::<SnapshotId>().unwrap();
        let taken = times.iter().enumerate().map(|(index, time)| (time.parse().unwrap(), id(index))).collect();
        let gone = rules.plan_of(taken);
        (0..times.len()).filter(|index| !gone.contains(&id(*index))).map(|index| times[index].to_owned()).collect()
    }

    #[test]
    fn the_newest_of_each_period_stays() {
        let times = [
            "2026-10-31T10:00:00Z",
            "2026-11-01T00:30:00Z",
            "2026-11-27T23:30:00Z",
            "2026-11-28T08:00:00Z",
            "2026-11-28T09:10:00Z",
            "2026-11-28T09:50:00Z",
        ];
        let all = KeepRules::default();
        assert!(kept(all, &times).is_empty() && all.keep_nothing());
        assert_eq!(kept(KeepRules { last: 2, ..all }, &times), times[4..]);
        assert_eq!(kept(KeepRules { hourly: 2, ..all }, &times), [times[3], times[5]]);
        assert_eq!(kept(KeepRules { daily: 3, ..all }, &times), [times[1], times[2], times[5]]);
        assert_eq!(kept(KeepRules { weekly: 2, ..all }, &times), [times[1], times[5]]);
        assert_eq!(kept(KeepRules { monthly: 9, ..all }, &times), [times[0], times[5]]);
        assert_eq!(kept(KeepRules { last: 1, monthly: 2, ..all }, &times), [times[0], times[5]]);
    }

    #[test]
    fn a_week_belongs_to_the_year_of_its_thursday() {
        let times = ["2026-12-31T12:00:00Z", "2027-01-03T12:00:00Z", "2027-01-04T12:00:00Z"];
        assert_eq!(kept(KeepRules { weekly: 9, ..KeepRules::default() }, &times), times[1..]);
    }
}
