//! AES-256-XTS beside AWS-LC, OpenSSL and xts-mode, on one thread of one process, round about: what counts is the ratio
//! within a round. `cargo bench -p envol-bench --bench cipher [ROUNDS]`, or `scripts/bench.sh`.

use std::time::Instant;

use envol::cipher::BLOCK_SIZE;
use envol_bench::{Contender, Direction, aes_unit, contenders};

const SIZES: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
const DEFAULT_ROUNDS: usize = 41;
/// Enough to time well, short enough that neighbours on the machine disturb all alike.
const BYTES_PER_SAMPLE: usize = 8 << 20;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(DEFAULT_ROUNDS);
    let key: [u8; 64] = std::array::from_fn(|at| u8::try_from(at * 3 + 1).unwrap_or(0));
    let contenders = contenders(&key);
    assert_all_agree(&contenders);
    println!("AES-256-XTS in blocks of 4 KiB, one thread, GB/s (10^9 bytes), medians of {rounds} interleaved rounds");
    println!("of limit: beside a loop of nothing but AES rounds on registers of the same width");
    for size in SIZES {
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            report(size, direction, &contenders, rounds);
        }
    }
}

/// A comparison of things that compute something else would mean nothing.
fn assert_all_agree(contenders: &[Contender]) {
    let input: Vec<u8> = (0..=250).cycle().take(5 * BLOCK_SIZE).collect();
    for direction in [Direction::Encrypt, Direction::Decrypt] {
        let outputs: Vec<_> = contenders
            .iter()
            .map(|contender| {
                let mut output = vec![0; input.len()];
                contender.run(direction, u64::from(u32::MAX) - 2, &input, &mut output);
                output
            })
            .collect();
        for (contender, output) in contenders.iter().zip(&outputs) {
            assert!(*output == outputs[0], "{} differs from {}", contender.name, contenders[0].name);
        }
    }
}

fn report(size: usize, direction: Direction, contenders: &[Contender], rounds: usize) {
    let limits = aes_unit::limits();
    let input = vec![0x5a; size];
    let mut output = vec![0; size];
    let mut of_limits = vec![Vec::new(); limits.len()];
    let mut of_contenders = vec![Vec::new(); contenders.len()];
    for round in 0..=rounds {
        for (limit, samples) in limits.iter().zip(&mut of_limits) {
            samples.push(gb_per_s(|| (limit.run)(BYTES_PER_SAMPLE)));
        }
        for (contender, samples) in contenders.iter().zip(&mut of_contenders) {
            // The slowest take less, or the rest would wait for them.
            let bytes = if contender.is_slow { BYTES_PER_SAMPLE / 8 } else { BYTES_PER_SAMPLE };
            let requests = bytes / size;
            let sample = gb_per_s(|| {
                for request in 0..requests {
                    let first = (round * requests + request) * (size / BLOCK_SIZE);
                    contender.run(direction, first as u64, &input, &mut output);
                }
                requests * size
            });
            samples.push(sample);
        }
        if round == 0 {
            // Caches, page tables and clocks warm up.
            of_limits.iter_mut().chain(&mut of_contenders).for_each(Vec::clear);
        }
    }
    let samples_of = |name: &str| {
        let at = contenders.iter().position(|contender| contender.name.starts_with(name));
        &of_contenders[at.expect("a contender")]
    };
    let (aws_lc, openssl) = (samples_of("AWS-LC"), samples_of("OpenSSL"));
    println!(
        "\n{:<22}{:>8}{:>11}{:>11}{:>11}",
        format!("{direction} {} KiB", size >> 10),
        "GB/s",
        "of AWS-LC",
        "of OpenSSL",
        "of limit"
    );
    for (contender, samples) in contenders.iter().zip(&of_contenders) {
        let limit = limits.iter().position(|limit| limit.width_bits <= contender.width_bits).map(|at| &of_limits[at]);
        let share = limit.map_or_else(String::new, |limit| format!("{:.0}%", 100.0 * median_ratio(samples, limit)));
        println!(
            "{:<22}{:>8.2}{:>11.2}{:>11.2}{share:>11}",
            contender.name,
            median(samples.clone()),
            median_ratio(samples, aws_lc),
            median_ratio(samples, openssl),
        );
    }
    for (limit, samples) in limits.iter().zip(&of_limits) {
        println!("{:<22}{:>8.2}", format!("limit, {} bits", limit.width_bits), median(samples.clone()));
    }
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn gb_per_s(work: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    let bytes = work();
    bytes as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Round by round, so that what disturbs a whole round cancels out.
fn median_ratio(samples: &[f64], others: &[f64]) -> f64 {
    median(samples.iter().zip(others).map(|(sample, other)| sample / other).collect())
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
