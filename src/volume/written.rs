//! Which blocks of a range were written: a bit for each, counted from its first, and the runs that they make.

use std::ops::Range;

use super::BLOCKS_PER_CHUNK;

/// As many as the largest request has; on the stack, because every read has one.
pub(super) type Written = [u128; 2];

/// Blocks that a [`Written`] has room for.
pub(super) const CAPACITY: u64 = 2 * BLOCKS_PER_CHUNK;

/// Runs of set bits, from the lowest.
pub(super) fn runs<const WORDS: usize>(written: [u128; WORDS]) -> impl Iterator<Item = Range<u64>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = position(&written, at, |word| word)?;
        at = position(&written, start, |word| !word).unwrap_or(WORDS as u64 * BLOCKS_PER_CHUNK);
        Some(start..at)
    })
}

/// The first bit from `at` on that is set in what `of` makes of the words.
fn position(words: &[u128], at: u64, of: impl Fn(u128) -> u128) -> Option<u64> {
    let first = usize::try_from(at / BLOCKS_PER_CHUNK).ok()?;
    let mut from = u128::MAX << (at % BLOCKS_PER_CHUNK);
    for (index, word) in words.iter().enumerate().skip(first) {
        let found = of(*word) & from;
        if found != 0 {
            return Some(index as u64 * BLOCKS_PER_CHUNK + u64::from(found.trailing_zeros()));
        }
        from = u128::MAX;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(run: Range<u64>) -> (u64, u64) {
        (run.start, run.end)
    }

    #[test]
    fn runs_are_those_of_the_set_bits() {
        let found = |written| runs::<1>([written]).map(ends).collect::<Vec<_>>();
        assert_eq!(found(0), []);
        assert_eq!(found(u128::MAX >> 1 << 1), [(1, 128)]);
        assert_eq!(found(u128::MAX).first(), Some(&(0, 128)));
        assert_eq!(found(1 << 127 | 1 << 126 | 1), [(0, 1), (126, 128)]);
        assert_eq!(found(0b0110_1001), [(0, 1), (3, 4), (5, 7)]);
    }

    #[test]
    fn a_run_goes_on_from_one_word_to_the_next() {
        let found = |written: Written| runs(written).map(ends).collect::<Vec<_>>();
        assert_eq!(found([u128::MAX; 2]), [(0, 256)]);
        assert_eq!(found([1 << 127, 1]), [(127, 129)]);
        assert_eq!(found([0, 1 << 127]), [(255, 256)]);
        assert_eq!(found([1, 2]), [(0, 1), (129, 130)]);
    }
}
