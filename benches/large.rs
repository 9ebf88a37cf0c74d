//! Whether size or age costs anything: a sparse volume of 4 TiB beside one of 1 GiB, and one to which 40 GiB were written in place beside a
//! new one.
//!
//!   scripts/bench.sh large [ROUNDS]

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use harness::{Host, ran};
use serde_json::Value;

const ROUNDS: usize = 7;
const AGED_GIB: u64 = 4;
const WRITTEN_GIB: u64 = 40;

/// With the field of fio's report that counts.
const JOBS: [(&str, [&str; 3], &str); 3] = [
    ("1 MiB write, depth 8, MB/s", ["--rw=write", "--bs=1m", "--iodepth=8"], "/write/bw_bytes"),
    ("4 KiB random write, depth 32, /s", ["--rw=randwrite", "--bs=4k", "--iodepth=32"], "/write/iops"),
    ("4 KiB random read, depth 32, /s", ["--rw=randread", "--bs=4k", "--iodepth=32"], "/read/iops"),
];

fn main() {
    let rounds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(ROUNDS);
    let host = Host::unwatched();
    size(&host, rounds);
    age(&host, rounds);
}

/// One of a volume's attachments.
struct Attachment {
    ms: f64,
    memory_mib: f64,
}

fn size(host: &Host, rounds: usize) {
    let volumes = ["1GiB", "4TiB"].map(|size| (size, host.create(&["--size", size])));
    let mut measured = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..volumes.len() {
            let which = (round + turn) % volumes.len();
            measured[which].push(attach(host, &volumes[which].1));
        }
    }
    println!("attach --raw, {rounds} interleaved rounds; medians");
    for ((size, _), attachments) in volumes.iter().zip(&measured) {
        let ms = median(attachments.iter().map(|attachment| attachment.ms).collect());
        let memory_mib = median(attachments.iter().map(|attachment| attachment.memory_mib).collect());
        println!("{size:<36} {ms:>8.0} ms {memory_mib:>8.1} MiB");
    }
}

fn attach(host: &Host, volume: &str) -> Attachment {
    let began = Instant::now();
    host.envol(&["attach", volume, "--raw"]).expect_code(0);
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    // Both ends of it: what it keeps of its allocation map is read by then.
    let image = fs::File::options().write(true).open(host.image(volume)).unwrap();
    let last = image.metadata().unwrap().len() - 4096;
    for offset in [0, last] {
        std::os::unix::fs::FileExt::write_all_at(&image, &[1; 4096], offset).unwrap();
    }
    drop(image);
    let status = fs::read_to_string(format!("/proc/{}/status", host.daemon_pid(volume))).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")).unwrap();
    host.envol(&["detach", volume]).expect_code(0);
    Attachment { ms, memory_mib: resident.trim().parse::<f64>().unwrap() / 1024.0 }
}

/// Beside one that was written once, by turns: what the disk does then it does to both.
fn age(host: &Host, rounds: usize) {
    let volumes = ["aged", "new"].map(|_| host.create(&["--size", &format!("{AGED_GIB}GiB")]));
    let images = volumes.each_ref().map(|volume| {
        host.envol(&["attach", volume, "--raw"]).expect_code(0);
        host.image(volume)
    });
    let fill = |image| fio(image, &["--rw=write", "--bs=1m", "--iodepth=8"]);
    images.iter().for_each(|image| drop(fill(image)));
    for _ in 0..WRITTEN_GIB / AGED_GIB {
        fill(&images[0]);
    }
    println!(
        "{WRITTEN_GIB} GiB written in place on {AGED_GIB} GiB, beside one written once; medians of {rounds} rounds"
    );
    for job in &JOBS {
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for turn in 0..images.len() {
                let which = (round + turn) % images.len();
                rates[which].push(rate(&images[which], job));
            }
        }
        let ratio = median(rates[0].iter().zip(&rates[1]).map(|(aged, new)| aged / new).collect());
        let [aged, new] = rates.map(median);
        println!("{:<36} {aged:>8.0} {new:>8.0} {ratio:>8.2}", job.0);
    }
    for volume in &volumes {
        host.envol(&["detach", volume]).expect_code(0);
    }
}

fn rate(image: &Path, (job, options, field): &(&str, [&str; 3], &str)) -> f64 {
    let report = fio(image, &[&options[..], &["--time_based", "--runtime=2", "--norandommap"]].concat());
    let rate = report.pointer(&format!("/jobs/0{field}")).and_then(Value::as_f64).unwrap();
    if job.ends_with("MB/s") { rate / 1e6 } else { rate }
}

fn fio(image: &Path, options: &[&str]) -> Value {
    let mut fio = Command::new("fio");
    fio.args(["--name=image", "--ioengine=libaio", "--direct=1", "--allow_file_create=0", "--output-format=json"]);
    let output =
        ran(&fio.arg(format!("--filename={}", image.display())).args(options).output().unwrap()).expect_code(0);
    serde_json::from_str(&output.stdout[output.stdout.find('{').unwrap()..]).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
