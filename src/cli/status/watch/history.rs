//! The requests of the last two minutes, and their sparklines.

use std::collections::VecDeque;

use super::super::figures::Interval;

pub(super) const LENGTH: usize = 120;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Requests a second for each kind, oldest first; `None` for a look at which nothing was counted.
#[derive(Default)]
pub(super) struct History(VecDeque<Option<Vec<f64>>>);

impl History {
    pub(super) fn push(&mut self, interval: Option<&Interval>) {
        if self.0.len() == LENGTH {
            self.0.pop_front();
        }
        self.0
            .push_back(interval.map(|interval| interval.kinds.iter().map(|(_, rates)| rates.requests_per_s).collect()));
    }

    /// The newest `width` looks of the kind at this place, right to left; scaled to the largest of them.
    pub(super) fn sparkline(&self, kind: usize, width: usize) -> String {
        let shown = self.0.iter().skip(self.0.len().saturating_sub(width));
        let rates: Vec<Option<f64>> = shown.map(|look| look.as_ref()?.get(kind).copied()).collect();
        let most = rates.iter().flatten().copied().fold(0.0, f64::max);
        let bars = rates.iter().map(|rate| rate.map_or(' ', |rate| bar(rate, most))).collect::<String>();
        format!("{bars:>width$}")
    }
}

/// Nothing is a blank, and little is still seen.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 8")]
fn bar(rate: f64, most: f64) -> char {
    if rate <= 0.0 {
        return ' ';
    }
    BARS[((rate / most * 8.0).ceil() as usize).clamp(1, 8) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_ends_with_the_newest_and_is_scaled_to_the_largest() {
        let mut history = History::default();
        for rate in [Some(1000.0), Some(8.0), Some(4.0), Some(0.0), None, Some(0.1)] {
            history.0.push_back(rate.map(|rate| vec![rate]));
        }
        assert_eq!(history.sparkline(0, 5), "█▄  ▁");
        assert_eq!(history.sparkline(0, 8), "  █▁▁  ▁");
        assert_eq!(History::default().sparkline(0, 3), "   ");
    }

    #[test]
    fn no_more_is_kept_than_two_minutes() {
        let mut history = History::default();
        (0..500).for_each(|_| history.push(None));
        assert_eq!(history.0.len(), LENGTH);
    }
}
