//! One job of fio on one file, and what it says about it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cpu;
use crate::guards::run;
use crate::place::settle;
use crate::rounds::{Sample, Unit};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    options: Vec<String>,
}

impl Job {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, options: &str) -> Self {
        Self { name: name.into(), unit, options: options.split_whitespace().map(str::to_owned).collect() }
    }
}

/// How one job is run.
#[derive(Clone, Copy)]
pub(crate) struct How {
    pub(crate) seconds: u64,
    /// The same offsets for everybody in one round, others in the next.
    pub(crate) round: u64,
    pub(crate) keep_caches: bool,
}

pub(crate) fn measure(job: &Job, file: &Path, how: How) -> Sample {
    settle(how.keep_caches);
    let before = cpu::busy_s();
    let mut fio = on(file);
    fio.args(&job.options).args(["--time_based", "--norandommap", "--lat_percentiles=1", "--output-format=json"]);
    fio.arg(format!("--runtime={}", how.seconds)).arg(format!("--randseed={}", how.round + 1));
    let output = run(&mut fio);
    // What a cached write costs later belongs to it.
    rustix::fs::sync();
    let busy_s = cpu::busy_s() - before;
    // Notes may come first.
    let output: Value = serde_json::from_str(&output[output.find('{').unwrap()..]).unwrap();
    let job_output = &output["jobs"][0];
    let total = |field: &str| -> f64 {
        ["read", "write"].iter().map(|direction| job_output[direction][field].as_f64().unwrap()).sum()
    };
    let percentile = |at: &str| job_output.pointer(at)?["99.000000"].as_f64().map(|ns| ns / 1000.0);
    let p99_us = ["/sync/lat_ns/percentile", "/read/lat_ns/percentile", "/write/lat_ns/percentile"];
    let value = if job.unit == Unit::MbPerS { total("bw_bytes") / 1e6 } else { total("iops") };
    Sample { value, p99_us: p99_us.into_iter().find_map(percentile), cpu_s: Some(busy_s / (total("io_bytes") / GIB)) }
}

/// Writes the whole file once.
pub(crate) fn fill(file: &Path) {
    run(on(file).args(["--rw=write", "--bs=1m", "--iodepth=8"]));
    rustix::fs::sync();
}

/// fio on a file that has its size already, past the page cache.
fn on(file: &Path) -> Command {
    let mut fio = Command::new("fio");
    fio.args(["--name=io", "--ioengine=libaio", "--direct=1", "--allow_file_create=0", "--fallocate=none"]);
    fio.arg(format!("--filename={}", file.display()));
    fio
}
