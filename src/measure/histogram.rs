//! Durations, counted by powers of two of nanoseconds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The first bucket ends at 2^10 ns, a microsecond; each next one twice as far, the last but one at 2^36 ns, a minute. The last
/// has no end.
const FIRST_BITS: u32 = 10;
const BUCKETS: usize = 28;

/// As it is counted.
#[derive(Debug, Default)]
pub struct AtomicHistogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

/// As it stood at one moment. The default is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// In the buckets of [`Histogram::bounds_s`]; what is missing at the end is 0.
    counts: Vec<u64>,
    sum_ns: u64,
}

impl AtomicHistogram {
    pub fn count(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Adds what was counted so far.
    pub fn add_to(&self, sum: &mut Histogram) {
        sum.counts.resize(BUCKETS, 0);
        for (sum, count) in sum.counts.iter_mut().zip(&self.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
        sum.sum_ns = sum.sum_ns.wrapping_add(self.sum_ns.load(Ordering::Relaxed));
    }
}

/// Of the first bucket that `ns` does not lie beyond.
fn bucket(ns: u64) -> usize {
    let bits = u64::BITS - ns.saturating_sub(1).leading_zeros();
    (bits.saturating_sub(FIRST_BITS) as usize).min(BUCKETS - 1)
}

/// The end of a bucket that has one.
fn bound_ns(bucket: usize) -> f64 {
    f64::from(FIRST_BITS + u32::try_from(bucket).unwrap_or(0)).exp2()
}

impl Histogram {
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum_s(&self) -> f64 {
        Duration::from_nanos(self.sum_ns).as_secs_f64()
    }

    /// The end of each bucket in seconds, with how many lie in it and in no lower one.
    pub fn buckets_s(&self) -> impl Iterator<Item = (f64, u64)> {
        (0..BUCKETS).map(|bucket| {
            let bound = if bucket == BUCKETS - 1 { f64::INFINITY } else { bound_ns(bucket) / 1e9 };
            (bound, self.counts.get(bucket).copied().unwrap_or(0))
        })
    }

    /// What came since `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        Self {
            counts: self.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect(),
            sum_ns: self.sum_ns.wrapping_sub(earlier.sum_ns),
        }
    }

    /// How long that part of them (0.5, 0.99) took at most: between the ends of a bucket as a straight line would have it, and so
    /// right within a factor of two. `None`: there are none.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = self.total() as f64 * part;
        let mut below = 0.0;
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if below + count >= wanted {
                let start = if bucket == 0 { 0.0 } else { bound_ns(bucket - 1) };
                let end = bound_ns(bucket.min(BUCKETS - 2));
                let ns = start + (end - start).max(0.0) * ((wanted - below) / count);
                return Some(Duration::from_secs_f64(ns / 1e9));
            }
            below += count;
        }
        None
    }

    /// What none of them took longer than: the end of the last bucket that is not empty.
    pub fn longest(&self) -> Option<Duration> {
        self.quantile(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: &[u64]) -> Histogram {
        let counted = AtomicHistogram::default();
        durations.iter().for_each(|ns| counted.count(Duration::from_nanos(*ns)));
        let mut histogram = Histogram::default();
        counted.add_to(&mut histogram);
        histogram
    }

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_reaches_so_far() {
        for (ns, expected) in
            [(0, 0), (1, 0), (1024, 0), (1025, 1), (2048, 1), (2049, 2), (1 << 36, 26), ((1 << 36) + 1, 27)]
        {
            assert_eq!(bucket(ns), expected, "{ns} ns");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        let buckets: Vec<_> = of(&[1500]).buckets_s().collect();
        assert_eq!(buckets[1], (2048e-9, 1));
        assert_eq!(buckets[BUCKETS - 1], (f64::INFINITY, 0));
    }

    #[test]
    fn quantiles_lie_in_the_bucket_of_what_they_are_of() {
        let none = of(&[]);
        assert_eq!((none.total(), none.quantile(0.5), none.longest()), (0, None, None));
        let mut durations = vec![10_000; 98];
        durations.extend([3_000_000, 3_000_000]);
        let histogram = of(&durations);
        assert_eq!(histogram.total(), 100);
        assert!((histogram.sum_s() - 0.00698).abs() < 1e-9);
        let micros = |part| histogram.quantile(part).unwrap().as_micros();
        assert!((8..=16).contains(&micros(0.5)), "{}", micros(0.5));
        assert!((2097..=4194).contains(&micros(0.99)), "{}", micros(0.99));
        assert_eq!(histogram.longest().unwrap().as_nanos(), 1 << 22);
    }

    #[test]
    fn an_interval_is_what_came_since() {
        let (earlier, later) = (of(&[5000, 5000]), of(&[5000, 5000, 70_000]));
        let interval = later.since(&earlier);
        assert_eq!(interval, of(&[70_000]));
        assert_eq!(later.since(&Histogram::default()), later);
    }

    #[test]
    fn threads_count_beside_each_other_and_nothing_is_lost() {
        let shards = super::super::Sharded::<AtomicHistogram>::default();
        std::thread::scope(|scope| {
            for _ in 0..100 {
                scope.spawn(|| (0..1000).for_each(|ns| shards.mine().count(Duration::from_nanos(ns))));
            }
        });
        let mut sum = Histogram::default();
        shards.all().for_each(|shard| shard.add_to(&mut sum));
        assert_eq!(sum.total(), 100_000);
    }
}
