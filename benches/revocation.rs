//! How long it takes from the owner's no to the last byte, and to an empty host. Beside it the probe interval, of which the
//! first is mostly made.
//!
//!   cargo bench --bench revocation [-- ROUNDS]

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::postgres::Postgres;
use harness::{Host, is_alive, wait_until};
use serde_json::Value;

const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";
const ROUNDS: usize = 50;

/// Between two reads of whoever looks on: what the figures can be off by.
const READ_INTERVAL: Duration = Duration::from_millis(2);

fn main() {
    let rounds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(ROUNDS);
    println!("probe interval 1 s; from the acknowledged revocation to the last read that succeeded");
    println!("{:<44} {:>8} {:>8}   of the interval", "", "p50", "worst");
    show("disable-key", (0..rounds).map(|_| last_read(&Host::new(), &[], disable)).collect());
    let granted = ["--grantee", GRANTEE, "--kms-profile", "envol-volume"];
    show(
        "revoke-grant, --confirm-denial 1s",
        (0..rounds / 2).map(|_| last_read(&Host::new(), &granted, revoke_grant)).collect(),
    );
    println!("from the verdict to a host that was verified empty");
    show("PostgreSQL under pgbench", (0..rounds / 5).map(|_| purge_under_load()).collect());
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    let share = median.as_secs_f64() / PROBE_INTERVAL.as_secs_f64();
    println!(
        "{:<44} {:>5} ms {:>5} ms   {share:.2} ({} rounds)",
        what,
        median.as_millis(),
        worst.as_millis(),
        times.len()
    );
}

fn disable(host: &Host, _: &str) {
    host.disable_key();
}

fn revoke_grant(host: &Host, volume: &str) {
    let grant = host.status(volume)["grant_id"].as_str().unwrap().to_owned();
    host.aws(&["revoke-grant", "--key-id", &host.key_id(), "--grant-id", &grant]).expect_code(0);
}

fn last_read(host: &Host, granted: &[&str], revoke: fn(&Host, &str)) -> Duration {
    let volume = host.create(&[&["--size", "16MiB"], granted].concat());
    let mut attach = vec!["attach", &volume, "--raw", "--probe-interval", "1s", "--confirm-denial", "1s"];
    attach.extend(granted.iter().skip(2));
    host.envol(&attach).expect_code(0);
    let image = File::options().read(true).custom_flags(0o40000).open(host.image(&volume)).unwrap();
    let reader = std::thread::spawn(move || {
        let mut last = Instant::now();
        let mut block = vec![0; 4096 * 2];
        let offset = block.as_ptr().align_offset(4096);
        while std::os::unix::fs::FileExt::read_exact_at(&image, &mut block[offset..offset + 4096], 0).is_ok() {
            last = Instant::now();
            std::thread::sleep(READ_INTERVAL);
        }
        last
    });
    // Else the AWS CLI, which takes as long each time, would meet the same moment between two probes.
    std::thread::sleep(at_random_within(PROBE_INTERVAL));
    revoke(host, &volume);
    let acknowledged = Instant::now();
    reader.join().unwrap().saturating_duration_since(acknowledged)
}

fn at_random_within(most: Duration) -> Duration {
    let mut byte = [0];
    getrandom::fill(&mut byte).unwrap();
    most.mul_f64(f64::from(byte[0]) / 256.0)
}

struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn purge_under_load() -> Duration {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let dir = host.directory("mnt");
    let attach = ["attach", &volume, dir.to_str().unwrap(), "--owner", "postgres", "--probe-interval", "1s"];
    host.envol(&attach).expect_code(0);
    let postgres = Postgres::init(&dir);
    postgres.start();
    postgres.run("pgbench", &["-i", "-s", "5", "-q"]).expect_code(0);
    let mut pgbench: Command = postgres.command("pgbench");
    pgbench.args(["-n", "-c", "4", "-T", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
    let _load = Load(pgbench.spawn().unwrap());
    let done = || postgres.query("SELECT count(*) FROM pgbench_history").parse::<u64>().unwrap();
    wait_until("transactions", Duration::from_secs(60), || done() > 100);
    let daemon = host.daemon_pid(&volume);
    host.disable_key();
    wait_until("the daemon's end", Duration::from_secs(60), || !is_alive(daemon));
    let events = host.envol(&["--json", "events", &volume]).expect_code(0).stdout;
    let mut purged = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let purged = purged.rfind(|event| event["event"] == "purged").unwrap();
    assert_eq!(purged["left"], serde_json::json!([]), "{purged}");
    let verified = purged["steps"].as_array().unwrap().last().unwrap();
    Duration::from_millis(verified["at_ms"].as_u64().unwrap() + verified["took_us"].as_u64().unwrap() / 1000)
}
