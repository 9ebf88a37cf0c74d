//! How long a small write and its fsync take while somebody writes in bulk to the same file system.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Setting;
use crate::arguments::Level;
use crate::contender::Contender;
use crate::file_system;
use crate::guards::Server;
use crate::place::{Place, settle};
use crate::rounds::{Row, Sample, Unit, round_robin};

/// Few of them are slow: enough are needed.
const TIMES_AS_LONG: u64 = 10;

const BULK_BYTES: u64 = 1 << 30;
const SMALL_BYTES: u64 = 64 << 20;
const PAGE: usize = 8192;

pub(crate) fn measure(setting: &Setting, place: &Place, contenders: &[Contender]) -> Vec<Row> {
    let arguments = &setting.arguments;
    let job = "8k-write-fsync-beside-300-MB/s";
    if !arguments.wants(job) {
        return Vec::new();
    }
    let mut all = Vec::new();
    for contender in contenders {
        eprintln!("beside, {}: {contender} is made and filled", place.kind);
        let made = file_system::make(*contender, setting, place, arguments.file_system_size << 20);
        let bulk = file_system::file(&made.dir, "bulk", BULK_BYTES);
        let small = file_system::file(&made.dir, "small", SMALL_BYTES);
        all.push((bulk, small, made));
    }
    let label = format!("beside, {}", place.kind);
    let samples = round_robin(&label, arguments.rounds, &[job], contenders, |_, contender, _| {
        let (bulk, small, _) = &all[contender];
        commit_beside(bulk, small, Duration::from_secs(arguments.seconds * TIMES_AS_LONG))
    });
    let samples = samples.into_iter().next().unwrap();
    let row = |name: &str, unit, pick: fn(&[f64]) -> f64| Row {
        place: place.kind,
        level: Level::Beside,
        job: format!("{job}, {name}"),
        unit,
        measured: (contenders.iter().copied())
            .zip(samples.iter().map(|rounds| {
                let sample = |times: &Vec<f64>| Sample { value: pick(times), p99_us: None, cpu_s: None };
                rounds.iter().map(sample).collect()
            }))
            .collect(),
    };
    vec![
        row("median", Unit::Ms, |times| percentile(times, 0.5)),
        row("99.9 %", Unit::Ms, |times| percentile(times, 0.999)),
        row("worst", Unit::Ms, |times| percentile(times, 1.0)),
    ]
}

/// Milliseconds, sorted.
fn commit_beside(bulk: &Path, small: &Path, length: Duration) -> Vec<f64> {
    settle(true);
    // Direct: it arrives below the file system as it is written, and not in whatever bursts writing back makes of it.
    let mut fio = Command::new("fio");
    fio.args(["--name=bulk", "--ioengine=libaio", "--direct=1", "--rw=write", "--bs=1m", "--iodepth=4", "--rate=300m"]);
    fio.args(["--allow_file_create=0", "--fallocate=none", "--time_based", "--runtime=3600"]);
    let _bulk = Server::start(fio.arg(format!("--filename={}", bulk.display())));
    let small: File = OpenOptions::new().write(true).open(small).unwrap();
    // Until what can be cached of it has filled what it may fill.
    let warm_up = commits(&small, Duration::from_secs(2));
    assert!(!warm_up.is_empty());
    let mut times = commits(&small, length);
    times.sort_by(f64::total_cmp);
    times
}

fn commits(file: &File, length: Duration) -> Vec<f64> {
    let began = Instant::now();
    let mut times = Vec::new();
    let mut place: u64 = 1;
    while began.elapsed() < length {
        // A linear congruential generator (Knuth): anywhere in the file.
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let page = (place >> 33) % (SMALL_BYTES / PAGE as u64);
        let bytes = [u8::try_from(times.len() % 256).unwrap(); PAGE];
        let before = Instant::now();
        file.write_all_at(&bytes, page * PAGE as u64).unwrap();
        file.sync_data().unwrap();
        times.push(before.elapsed().as_secs_f64() * 1000.0);
    }
    times
}

/// Of sorted values.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1]
}
