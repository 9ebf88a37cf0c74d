//! Every decoder, as a function of bytes that nobody chose, with what must hold of whatever it accepts.
//!
//! `scripts/fuzz.sh` runs them under libFuzzer, which looks for bytes that reach new code; `tests/corpus.rs` replays what it
//! has found so far, which is in `corpus/`, on every run of the tests.

mod allocation;
mod patch;
mod targets;

pub use allocation::Excess;
pub use targets::{TARGETS, Target, find};

/// Feeds `data` to a target. It panics where the decoder does, or where something does not hold.
///
/// # Errors
/// The decoder took more memory than it may.
pub fn run(target: &Target, data: &[u8]) -> Result<(), Excess> {
    let before = allocation::begin();
    (target.decode)(data);
    allocation::end(before, target.memory.limit_bytes(data.len()))
}
