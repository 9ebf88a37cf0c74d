//! How fast a snapshot is taken and restored, beside restic on the same bytes and the same disk, and what it costs a database
//! meanwhile. All of it in one run, round about.
//!
//!   cargo bench --bench snapshots [-- restic|database] [ROUNDS]

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::Host;
use harness::postgres::Postgres;
use harness::snapshots::{CHUNK, noise};

const SIZE: u64 = 4 << 30;
const ROUNDS: usize = 3;
const PGBENCH_S: &str = "20";

fn main() {
    let rounds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(ROUNDS);
    let only = |part: &str| std::env::args().any(|argument| argument == part);
    if !only("database") {
        beside_restic(rounds);
    }
    if !only("restic") {
        beside_a_database(rounds);
    }
}

/// Seconds of restic, seconds of envol, for each round.
#[derive(Default)]
struct Pairs(Vec<(f64, f64)>);

impl Pairs {
    fn show(&mut self, what: &str) {
        self.0.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
        let (restic, envol) = self.0[self.0.len() / 2];
        let ratio = |pair: &(f64, f64)| pair.0 / pair.1;
        let (least, most) = (ratio(&self.0[0]), ratio(&self.0[self.0.len() - 1]));
        println!("{what:<28} {restic:>8.2} {envol:>8.2}   {:>6.1} ({least:.1} to {most:.1})", restic / envol);
    }
}

fn beside_restic(rounds: usize) {
    let host = Host::new();
    let volume = host.create(&["--size", "4GiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let plain = host.root().join("plain");
    let image = OpenOptions::new().write(true).open(host.image(&volume)).unwrap();
    let copy = File::create(&plain).unwrap();
    for at in (0..SIZE).step_by(1 << 20) {
        let bytes = noise(at, 1 << 20);
        image.write_all_at(&bytes, at).unwrap();
        copy.write_all_at(&bytes, at).unwrap();
    }
    let (mut backup, mut restore, mut increment) = (Pairs::default(), Pairs::default(), Pairs::default());
    for round in 0..rounds {
        let place = |name: &str| host.root().join(format!("{name}-{round}"));
        let (repository, store) = (place("restic"), place("store"));
        let restic = |arguments: &[&str]| {
            let mut command = Command::new("restic");
            command.args(["--no-cache", "--quiet"]).args(arguments).env("RESTIC_PASSWORD", "bench");
            took(command.env("RESTIC_REPOSITORY", &repository))
        };
        restic(&["init"]);
        let plain = plain.to_str().unwrap();
        let take = || {
            settle();
            let began = Instant::now();
            let taken = host.snapshot(&volume, &["--store", store.to_str().unwrap()]);
            (began.elapsed().as_secs_f64(), taken["snapshot_id"].as_str().unwrap().to_owned())
        };
        settle();
        let of_restic = restic(&["backup", plain]);
        let (of_envol, snapshot) = take();
        backup.0.push((of_restic, of_envol));

        let target = place("restored");
        settle();
        let of_restic = restic(&["restore", "latest", "--target", target.to_str().unwrap()]);
        settle();
        let began = Instant::now();
        let restored = host.restore(&snapshot, &["--store", store.to_str().unwrap()]);
        restore.0.push((of_restic, began.elapsed().as_secs_f64()));
        host.envol(&["delete", &restored, "--yes"]).expect_code(0);

        for chunk in 0..SIZE / CHUNK / 100 {
            let at = (chunk * 97 + round as u64) * CHUNK + 8192;
            let bytes = noise(chunk + (round as u64 + 1) * 1000, 4096);
            image.write_all_at(&bytes, at).unwrap();
            copy.write_all_at(&bytes, at).unwrap();
        }
        settle();
        let of_restic = restic(&["backup", plain]);
        increment.0.push((of_restic, take().0));
        for path in [repository.clone(), target, store.clone()] {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
    println!("4 GiB of noise, seconds, median of {rounds} rounds");
    println!("{:<28} {:>8} {:>8}   times as fast", "", "restic", "envol");
    backup.show("take it");
    restore.show("restore it");
    increment.show("again, 1 % changed");
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.daemon_pid(&volume))).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("largest resident memory of the daemon {}", peak.trim());
}

/// What was written before is not to be paid for by who comes next.
fn settle() {
    rustix::fs::sync();
}

fn took(command: &mut Command) -> f64 {
    let began = Instant::now();
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("restic is not installed");
    assert!(ended.success(), "{command:?}");
    began.elapsed().as_secs_f64()
}

fn beside_a_database(rounds: usize) {
    let host = Host::new();
    let dir = host.directory("mnt");
    let volume = host.create(&["--size", "4GiB"]);
    host.envol(&["attach", &volume, dir.to_str().unwrap(), "--owner", "postgres"]).expect_code(0);
    let postgres = Postgres::init(&dir);
    postgres.start();
    postgres.run("pgbench", &["-i", "-s", "50", "-q"]).expect_code(0);
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let alone = transactions_per_s(&postgres);
        let over = std::sync::atomic::AtomicBool::new(false);
        let store: PathBuf = host.root().join("store");
        let beside = std::thread::scope(|scope| {
            let taking = scope.spawn(|| keep_taking(&host, &volume, &store, &over));
            let beside = transactions_per_s(&postgres);
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            taking.join().unwrap();
            beside
        });
        ratios.push((beside / alone, alone, beside));
    }
    ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (ratio, alone, beside) = ratios[ratios.len() / 2];
    println!(
        "pgbench, scale 50, 4 clients: {alone:.0} transactions a second alone, {beside:.0} while full snapshots are taken: {ratio:.2}"
    );
    postgres.stop();
}

/// Full ones, one after the other.
fn keep_taking(host: &Host, volume: &str, store: &Path, over: &std::sync::atomic::AtomicBool) {
    let mut number = 0;
    while !over.load(std::sync::atomic::Ordering::Relaxed) {
        number += 1;
        let store = store.join(number.to_string());
        host.snapshot(volume, &["--store", store.to_str().unwrap()]);
        std::fs::remove_dir_all(store).unwrap();
    }
}

fn transactions_per_s(postgres: &Postgres) -> f64 {
    let ran = postgres.run("pgbench", &["-n", "-c", "4", "-j", "2", "-T", PGBENCH_S]).expect_code(0);
    let line = ran.stdout.lines().find_map(|line| line.strip_prefix("tps = ")).expect("pgbench says how many");
    line.split(' ').next().unwrap().parse().unwrap()
}
