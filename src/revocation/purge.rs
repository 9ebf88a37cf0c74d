//! What terminal takes away, and in which order; each step has a deadline, and none can hold up the next.
//!
//! Why this order: the keys first, since nothing is needed for that. A frozen file system is thawed only then, for a thaw
//! writes. It is shut down before its users are killed, so that they see why they end. A page that is mapped stays readable
//! until its process is gone; so processes go before mounts, and mounts before devices. The daemon's own buffers go with it, last.

use std::fmt;
use std::time::{Duration, Instant};

use super::events::StepRecord;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// New requests fail.
    TerminalFlag,
    /// No key that opens a block is in memory.
    KeysWiped,
    /// The image says so, durably.
    RecordWritten,
    InFlightAnswered,
    Thaw,
    FileSystemShutDown,
    ProcessesEnded,
    Unmounted,
    LoopCleared,
    FuseEnded,
    /// That nothing of it is left is looked up, not concluded.
    Verified,
}

/// What is done on the host, once the volume itself has ended.
pub const HOST_STEPS: [Step; 8] = [
    Step::InFlightAnswered,
    Step::Thaw,
    Step::FileSystemShutDown,
    Step::ProcessesEnded,
    Step::Unmounted,
    Step::LoopCleared,
    Step::FuseEnded,
    Step::Verified,
];

impl fmt::Display for Step {
    /// As in the event log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TerminalFlag => "terminal-flag",
            Self::KeysWiped => "keys-wiped",
            Self::RecordWritten => "record-written",
            Self::InFlightAnswered => "in-flight-answered",
            Self::Thaw => "thaw",
            Self::FileSystemShutDown => "file-system-shut-down",
            Self::ProcessesEnded => "processes-ended",
            Self::Unmounted => "unmounted",
            Self::LoopCleared => "loop-cleared",
            Self::FuseEnded => "fuse-ended",
            Self::Verified => "verified",
        })
    }
}

impl Step {
    /// Far beyond what it takes, also under load; together about six seconds.
    pub fn deadline(self) -> Duration {
        Duration::from_millis(match self {
            // Not ours to cut short: the wipe waits for the cipher calls under way, and for nothing else.
            Self::TerminalFlag | Self::KeysWiped => 0,
            Self::RecordWritten => 1000,
            Self::InFlightAnswered => 50,
            Self::Thaw | Self::FileSystemShutDown => 500,
            Self::ProcessesEnded | Self::Unmounted | Self::LoopCleared | Self::FuseEnded | Self::Verified => 750,
        })
    }
}

/// What a step takes away.
pub trait Plaintext {
    /// Returns within about `deadline`, whatever the kernel does.
    fn take_away(&mut self, step: Step, deadline: Duration) -> Result<(), String>;
}

/// A purge under way, with the time of each step.
#[derive(Clone, Debug)]
pub struct Purge {
    verdict: Instant,
    steps: Vec<StepRecord>,
}

impl Purge {
    /// The verdict is now.
    pub fn begin() -> Self {
        Self { verdict: Instant::now(), steps: Vec::new() }
    }

    /// Does one step, notes it, and goes on whatever came of it.
    pub fn step(&mut self, step: Step, work: impl FnOnce() -> Result<(), String>) {
        let (began, at) = (Instant::now(), self.verdict.elapsed());
        let error = work().err();
        if let Some(error) = &error {
            tracing::error!("purge: {step}: {error}");
        }
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.steps.push(StepRecord { step: step.to_string(), at_ms, took_us, error });
    }

    /// All that is left after the volume itself has ended.
    pub fn take_away(&mut self, plaintext: &mut impl Plaintext) {
        for step in HOST_STEPS {
            self.step(step, || plaintext.take_away(step, step.deadline()));
        }
    }

    pub fn steps(&self) -> &[StepRecord] {
        &self.steps
    }

    pub fn elapsed(&self) -> Duration {
        self.verdict.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stubborn(Vec<Step>);

    impl Plaintext for Stubborn {
        fn take_away(&mut self, step: Step, _: Duration) -> Result<(), String> {
            self.0.push(step);
            Err("no".to_owned())
        }
    }

    #[test]
    fn a_step_that_fails_does_not_keep_the_next_from_being_done() {
        let mut stubborn = Stubborn(Vec::new());
        let mut purge = Purge::begin();
        purge.step(Step::KeysWiped, || Ok(()));
        purge.take_away(&mut stubborn);
        assert_eq!(stubborn.0, HOST_STEPS);
        let failed: Vec<bool> = purge.steps().iter().map(|step| step.error.is_some()).collect();
        assert_eq!(failed, [false, true, true, true, true, true, true, true, true]);
    }
}
