//! The packs that a snapshot refers to, as ranges of numbers for each snapshot that made some.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::format::SnapshotId;

/// For each snapshot, `[first, last]` of each run of its packs, in order and apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PackSet(pub(super) BTreeMap<SnapshotId, Vec<[u32; 2]>>);

impl PackSet {
    pub(super) fn insert(&mut self, origin: &SnapshotId, number: u32) {
        self.insert_range(origin, [number, number]);
    }

    pub(super) fn insert_range(&mut self, origin: &SnapshotId, [mut first, mut last]: [u32; 2]) {
        if !self.0.contains_key(origin) {
            self.0.insert(origin.clone(), Vec::new());
        }
        let ranges = self.0.get_mut(origin).expect("inserted above");
        // Those that touch the new one become part of it.
        let begin = ranges.partition_point(|range| range[1].saturating_add(1) < first);
        let end = ranges.partition_point(|range| range[0] <= last.saturating_add(1));
        if begin < end {
            first = first.min(ranges[begin][0]);
            last = last.max(ranges[end - 1][1]);
        }
        ranges.splice(begin..end, [[first, last]]);
    }

    pub(super) fn extend(&mut self, other: &Self) {
        for (origin, ranges) in &other.0 {
            for range in ranges {
                self.insert_range(origin, *range);
            }
        }
    }

    pub(super) fn contains(&self, origin: &SnapshotId, number: u32) -> bool {
        self.0.get(origin).is_some_and(|ranges| {
            let at = ranges.partition_point(|range| range[1] < number);
            ranges.get(at).is_some_and(|range| range[0] <= number)
        })
    }

    pub(super) fn ranges(&self, origin: &SnapshotId) -> &[[u32; 2]] {
        self.0.get(origin).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_a_set_of_numbers() {
        let id: SnapshotId = "snap-1".parse().unwrap();
        let mut state = 7u32;
        let (mut set, mut model) = (PackSet::default(), BTreeSet::new());
        for _ in 0..400 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let first = (state >> 16) % 200;
            let last = first + (state >> 8) % 4;
            set.insert_range(&id, [first, last]);
            model.extend(first..=last);
            assert!((0..210).all(|number| set.contains(&id, number) == model.contains(&number)));
            let ranges = set.ranges(&id);
            assert!(ranges.windows(2).all(|pair| pair[0][1] + 1 < pair[1][0]), "{ranges:?}");
        }
        assert!(!set.contains(&"snap-2".parse().unwrap(), 1));
    }
}
