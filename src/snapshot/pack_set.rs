//! The packs that a snapshot refers to, as ranges of numbers for each snapshot that made some.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::format::SnapshotId;

/// For each snapshot, `[first, last]` of each run of its packs, in order and apart.
///
/// Any reader of a store may be handed one that somebody wrote otherwise: it is refused, since what is kept is found in it by its
/// order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<SnapshotId, Vec<[u32; 2]>>")]
pub struct PackSet(pub(super) BTreeMap<SnapshotId, Vec<[u32; 2]>>);

#[derive(Debug, thiserror::Error)]
#[error("the packs of {0} are not ranges of numbers, in order and apart")]
pub struct NoPackSet(SnapshotId);

impl TryFrom<BTreeMap<SnapshotId, Vec<[u32; 2]>>> for PackSet {
    type Error = NoPackSet;

    fn try_from(packs: BTreeMap<SnapshotId, Vec<[u32; 2]>>) -> Result<Self, NoPackSet> {
        let disordered = packs.iter().find(|(_, ranges)| {
            ranges.iter().any(|[first, last]| first > last)
                || ranges.windows(2).any(|pair| pair[0][1].saturating_add(1) >= pair[1][0])
        });
        match disordered {
            Some((origin, _)) => Err(NoPackSet(origin.clone())),
            None => Ok(Self(packs)),
        }
    }
}

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

    #[test]
    fn ranges_that_nobody_here_would_write_are_refused_and_not_searched() {
        let read = |ranges: &str| serde_json::from_str::<PackSet>(&format!("{{\"snap-1\":{ranges}}}"));
        for good in ["[]", "[[0,0]]", "[[0,3],[5,5],[7,4294967295]]"] {
            let set = read(good).unwrap();
            assert_eq!(serde_json::to_string(&set).unwrap(), format!("{{\"snap-1\":{good}}}"));
        }
        // The first of them made a deletion that met it panic, the second lost what it still needed.
        for bad in ["[[0,0],[5,5],[10,2]]", "[[5,6],[0,1]]", "[[0,1],[1,2]]", "[[0,1],[2,3]]", "[[0,4294967295],[0,0]]"]
        {
            let problem = read(bad).unwrap_err().to_string();
            assert!(problem.contains("the packs of snap-1 are not ranges"), "{problem}");
        }
    }
}
