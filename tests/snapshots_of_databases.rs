//! Snapshots of a PostgreSQL under load: each gives a cluster that recovers, is whole, and has every transaction that was
//! acknowledged before.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use harness::postgres::Postgres;
use harness::{Host, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);
const SNAPSHOTS: usize = 10;

struct Pgbench(Child);

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn load(postgres: &Postgres) -> Pgbench {
    let mut pgbench = postgres.command("pgbench");
    pgbench.args(["-n", "-c", "4", "-T", "900"]).stdout(Stdio::null()).stderr(Stdio::null());
    Pgbench(pgbench.spawn().unwrap())
}

fn acknowledged(postgres: &Postgres) -> u64 {
    postgres.query("SELECT count(*) FROM pgbench_history").parse().unwrap()
}

fn attach(host: &Host, volume: &str, dir: &Path, more: &[&str]) {
    let attach = ["attach", volume, dir.to_str().unwrap(), "--owner", "postgres"];
    host.envol(&[&attach, more].concat()).expect_code(0);
}

#[test]
fn ten_snapshots_in_a_row_under_pgbench_each_recover() {
    let host = Host::new();
    let (dir, back) = (host.directory("mnt"), host.directory("back"));
    let volume = host.create(&["--size", "2GiB"]);
    attach(&host, &volume, &dir, &[]);
    let postgres = Postgres::init(&dir);
    postgres.start();
    postgres.run("pgbench", &["-i", "-s", "5", "-q"]).expect_code(0);
    let pgbench = load(&postgres);
    let mut taken = Vec::new();
    for number in 0..SNAPSHOTS {
        let before = acknowledged(&postgres);
        let how: &[&str] = if number % 3 == 2 { &["--freeze"] } else { &[] };
        let snapshot = host.snapshot(&volume, how);
        assert_eq!(snapshot["frozen"], number % 3 == 2, "{snapshot}");
        taken.push((snapshot["snapshot_id"].as_str().unwrap().to_owned(), before, acknowledged(&postgres)));
        wait_until("the load to go on", DEADLINE, || acknowledged(&postgres) > before + 50);
    }
    drop(pgbench);
    postgres.stop();
    // Its pid is in every snapshot, and PostgreSQL does not start while there is such a process.
    wait_until("the end of the postmaster", DEADLINE, || !postgres.is_running());
    host.envol(&["detach", &volume]).expect_code(0);

    for (snapshot, before, after) in taken {
        let restored = host.restore(&snapshot, &[]);
        attach(&host, &restored, &back, &[]);
        let postgres = Postgres::at(&back);
        postgres.start();
        assert!(postgres.log().contains("automatic recovery"), "{}", postgres.log());
        postgres.check();
        let found = acknowledged(&postgres);
        assert!((before..=after + 4).contains(&found), "{snapshot}: {found} rows, {before} before and {after} after");
        let balances = "SELECT (SELECT sum(delta) FROM pgbench_history) = (SELECT sum(abalance) FROM pgbench_accounts)";
        assert_eq!(postgres.query(balances), "t", "{snapshot}");
        postgres.stop();
        wait_until("the end of the postmaster", DEADLINE, || !postgres.is_running());
        host.envol(&["detach", &restored]).expect_code(0);
        host.envol(&["delete", &restored, "--yes"]).expect_code(0);
    }
}

/// The owner's no counts in the middle of a snapshot, frozen or not: nothing holds up the purge.
#[test]
fn a_revocation_in_the_middle_of_a_snapshot_purges_in_time() {
    for how in [&["--bandwidth", "256KiB"][..], &["--bandwidth", "256KiB", "--freeze"]] {
        let host = Host::new();
        let dir = host.directory("mnt");
        let volume = host.create(&["--size", "1GiB"]);
        attach(&host, &volume, &dir, &["--probe-interval", "1s"]);
        let postgres = Postgres::init(&dir);
        postgres.start();
        postgres.run("pgbench", &["-i", "-s", "5", "-q"]).expect_code(0);
        let pgbench = load(&postgres);
        let mut command = host.command(harness::ENVOL);
        command.arg("--root").arg(host.root()).args(["snapshot", "create", &volume]).args(how);
        let snapshot = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let uploads = host.store().join("uploads");
        wait_until("an upload", DEADLINE, || {
            std::fs::read_dir(&uploads).is_ok_and(|mut entries| entries.next().is_some())
        });
        host.disable_key();
        wait_until("terminal", DEADLINE, || host.status(&volume)["state"] == "terminal");
        let ended = snapshot.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(6), "{how:?}: {}", String::from_utf8_lossy(&ended.stderr));
        // The command may hear of the revocation before it is carried out.
        let events = || host.envol(&["--json", "events", &volume]).expect_code(0).stdout;
        wait_until("the end of the purge", DEADLINE, || events().contains(r#""purged""#));
        let events = events();
        let purged = events.lines().find(|line| line.contains(r#""purged""#)).unwrap_or_else(|| panic!("{events}"));
        let purged: serde_json::Value = serde_json::from_str(purged).unwrap();
        assert_eq!(purged["left"].as_array().map(Vec::len), Some(0), "{purged}");
        drop(pgbench);
        host.enable_key();
    }
}
