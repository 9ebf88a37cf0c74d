//! Who does what when, and the figures that come of it.

use crate::arguments::Level;
use crate::contender::Contender;
use crate::interruption;
use crate::place::Kind;

/// One job at one place: a sample of each contender from each round.
pub(crate) struct Row {
    pub(crate) place: Kind,
    pub(crate) level: Level,
    pub(crate) job: String,
    pub(crate) unit: Unit,
    pub(crate) measured: Vec<(Contender, Vec<Sample>)>,
}

#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) value: f64,
    /// The 99th percentile of one request's latency.
    pub(crate) p99_us: Option<f64>,
    /// Seconds of all processors for a GiB, or for a thousand transactions.
    pub(crate) cpu_s: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    RequestsPerS,
    MbPerS,
    TransactionsPerS,
    /// Of which less is better.
    Ms,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestsPerS => "IOPS",
            Self::MbPerS => "MB/s",
            Self::TransactionsPerS => "tps",
            Self::Ms => "ms",
        }
    }
}

/// Median, least and most.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let (least, most) = (*values.first()?, *values.last()?);
        let median =
            if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
        Some(Self { median, least, most })
    }
}

impl Row {
    pub(crate) fn samples(&self, contender: Contender) -> Option<&[Sample]> {
        self.measured.iter().find(|(known, _)| *known == contender).map(|(_, samples)| &samples[..])
    }

    pub(crate) fn rounds(&self) -> usize {
        self.measured.iter().map(|(_, samples)| samples.len()).min().unwrap_or(0)
    }

    pub(crate) fn value(&self, contender: Contender) -> Option<Spread> {
        Spread::of(self.samples(contender)?.iter().map(|sample| sample.value))
    }

    pub(crate) fn cpu_s(&self, contender: Contender) -> Option<Spread> {
        Spread::of(self.samples(contender)?.iter().filter_map(|sample| sample.cpu_s))
    }

    pub(crate) fn p99_us(&self, contender: Contender) -> Option<Spread> {
        Spread::of(self.samples(contender)?.iter().filter_map(|sample| sample.p99_us))
    }

    /// The value of `ours` for each one of `other`, round by round: what disturbs a whole round cancels out.
    pub(crate) fn ratio(&self, ours: Contender, other: Contender) -> Option<Spread> {
        let (ours, theirs) = (self.samples(ours)?, self.samples(other)?);
        Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours.value / theirs.value))
    }
}

/// Round by round all jobs, each by all contenders one after the other; who begins changes. What `measure` says of a job's and
/// a contender's position and a round is at `[job][contender][round]`. When it is interrupted, the rounds that are whole count.
pub(crate) fn round_robin<T>(
    label: &str,
    rounds: u64,
    jobs: &[&str],
    contenders: &[Contender],
    mut measure: impl FnMut(usize, usize, u64) -> T,
) -> Vec<Vec<Vec<T>>> {
    let mut samples: Vec<Vec<Vec<T>>> = jobs.iter().map(|_| contenders.iter().map(|_| Vec::new()).collect()).collect();
    for round in 0..rounds {
        for (job, name) in jobs.iter().enumerate() {
            eprintln!("{label}: round {} of {rounds}, {name}", round + 1);
            let first = usize::try_from(round).unwrap() + job;
            for turn in 0..contenders.len() {
                if interruption::is_wanted() {
                    // A ratio within a round wants both.
                    let whole = usize::try_from(round).unwrap();
                    samples.iter_mut().flatten().for_each(|samples| samples.truncate(whole));
                    return samples;
                }
                let contender = (first + turn) % contenders.len();
                samples[job][contender].push(measure(job, contender, round));
            }
        }
    }
    samples
}
