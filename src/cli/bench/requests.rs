//! Requests to one file, several at a time, for a moment.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::throughput::{PAGE, aligned};

/// Long enough for some hundred commits on a slow disk, short enough that whatever disturbs the machine disturbs all that is
/// compared.
const SAMPLE: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    /// fdatasync(2) after each: what a database does for a commit.
    Commit,
}

/// What all requests of a sample have in common.
pub(super) struct Requests {
    pub(super) kind: Kind,
    pub(super) size_bytes: usize,
    /// How many are under way at once, by a thread each.
    pub(super) depth: u64,
    /// One after the other; else anywhere.
    pub(super) sequential: bool,
}

pub(super) struct Sample {
    pub(super) requests_per_s: f64,
    pub(super) p99: Duration,
}

/// `file` has `len_bytes`. What it is open with decides about caches.
pub(super) fn sample(file: &File, len_bytes: u64, requests: &Requests) -> io::Result<Sample> {
    let places = Places { count: len_bytes / requests.size_bytes as u64, requests, next: AtomicU64::new(0) };
    let began = Instant::now();
    let until = began + SAMPLE;
    let latencies = thread::scope(|scope| {
        let places = &places;
        let start = |thread| scope.spawn(move || one_thread(file, places, thread, until));
        let running: Vec<_> = (0..requests.depth).map(start).collect();
        let latencies = running.into_iter().map(|thread| thread.join().expect("nothing in it panics"));
        latencies.collect::<io::Result<Vec<_>>>()
    })?;
    let elapsed = began.elapsed();
    let mut latencies = latencies.concat();
    latencies.sort_unstable();
    // At least one by each thread.
    let p99 = latencies[(latencies.len() * 99).div_ceil(100) - 1];
    Ok(Sample { requests_per_s: count(latencies.len()) / elapsed.as_secs_f64(), p99 })
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 in a sample")]
fn count(number: usize) -> f64 {
    number as f64
}

fn one_thread(file: &File, places: &Places<'_>, thread: u64, until: Instant) -> io::Result<Vec<Duration>> {
    let size_bytes = places.requests.size_bytes;
    let mut memory = vec![0; size_bytes + PAGE];
    let buffer = aligned(&mut memory, size_bytes);
    // Zeros might be compressed, or left out.
    getrandom::fill(buffer).map_err(io::Error::other)?;
    let mut latencies = Vec::new();
    let mut turn = 0;
    loop {
        let began = Instant::now();
        if began >= until && turn > 0 {
            return Ok(latencies);
        }
        let offset = places.pick(thread, turn);
        match places.requests.kind {
            Kind::Read => file.read_exact_at(buffer, offset)?,
            Kind::Write => file.write_all_at(buffer, offset)?,
            Kind::Commit => file.write_all_at(buffer, offset).and_then(|()| file.sync_data())?,
        }
        latencies.push(began.elapsed());
        turn += 1;
    }
}

struct Places<'a> {
    count: u64,
    requests: &'a Requests,
    next: AtomicU64,
}

impl Places<'_> {
    /// The offset of a thread's next request. The same in every sample, so that all who are compared get the same.
    fn pick(&self, thread: u64, turn: u64) -> u64 {
        let place =
            if self.requests.sequential { self.next.fetch_add(1, Ordering::Relaxed) } else { mix(thread << 40 | turn) };
        place % self.count * self.requests.size_bytes as u64
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, 2014): neighbours come to lie far apart.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
