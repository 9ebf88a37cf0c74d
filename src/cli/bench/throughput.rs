//! How many bytes a second pass through something, on one thread or several at once.

use std::thread;
use std::time::{Duration, Instant};

/// Long enough for the clock, short enough that whatever disturbs the machine disturbs all that is compared.
const SAMPLE: Duration = Duration::from_millis(4);

pub(super) const PAGE: usize = 4096;

/// Takes an input to an output of the same length.
pub(super) type Work = Box<dyn Fn(&[u8], &mut [u8]) + Sync>;

/// One sample, in 10^9 bytes a second. Every thread has buffers of its own.
pub(super) fn gb_per_s(threads: usize, size_bytes: usize, work: &Work) -> f64 {
    let one = || {
        let (mut input, mut output) = (vec![0x5a; size_bytes + PAGE], vec![0; size_bytes + PAGE]);
        let (input, output) = (aligned(&mut input, size_bytes), aligned(&mut output, size_bytes));
        // Not counted: the first touch of every page.
        work(input, output);
        let start = Instant::now();
        let mut requests = 0;
        loop {
            work(input, output);
            requests += 1;
            let elapsed = start.elapsed();
            if elapsed >= SAMPLE {
                return to_gb(requests * size_bytes) / elapsed.as_secs_f64();
            }
        }
    };
    if threads == 1 {
        return one();
    }
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().map(|thread| thread.join().expect("nothing in it panics")).sum()
    })
}

/// As the kernel aligns what it reads and writes, and wants it for direct I/O. `buffer` is a [`PAGE`] longer than `len`.
pub(super) fn aligned(buffer: &mut [u8], len: usize) -> &mut [u8] {
    let start = buffer.as_ptr().align_offset(PAGE);
    &mut buffer[start..start + len]
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes in a sample")]
fn to_gb(bytes: usize) -> f64 {
    bytes as f64 / 1e9
}

pub(super) fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

pub(super) fn print_progress(round: usize, rounds: usize) {
    eprint!("\rmeasuring {:3}%{}", round * 100 / rounds, if round == rounds { "\n" } else { "" });
}
