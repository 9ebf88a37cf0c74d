//! The way back from a revocation: the key is allowed again, and a volume made of the snapshot that was taken before takes the
//! place of the terminal one.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use harness::mariadb::MariaDb;
use harness::postgres::Postgres;
use harness::{Host, Ran, wait_until};

/// From the revocation until the database, whose reads and writes fail, has given up by itself.
const STOPPED_DEADLINE: Duration = Duration::from_secs(60);
const DEADLINE: Duration = Duration::from_secs(60);

/// A database under a load of inserts that each commit.
trait Database {
    const USER: &'static str;
    /// What an administrator finds in its log: one of these, with the error of the system.
    const ERRORS: &'static [&'static str];

    /// Started, and ready for its load.
    fn init(dir: &Path) -> Self;
    /// The one that is below `dir` already.
    fn at(dir: &Path) -> Self;
    fn start(&self);
    fn stop(&self);
    fn starts(&self) -> bool;
    /// Ends when it is dropped.
    type Load;
    fn load(&self) -> Self::Load;
    fn added(&self) -> u64;
    fn check(&self);
    fn is_running(&self) -> bool;
    fn log(&self) -> String;
}

impl Database for MariaDb {
    const USER: &'static str = "mysql";
    const ERRORS: &'static [&'static str] = &["returned 5", "operating system error 5", "Input/output error"];

    fn init(dir: &Path) -> Self {
        let mariadb = Self::init(dir);
        mariadb.start();
        mariadb
    }

    fn at(dir: &Path) -> Self {
        Self::at(dir)
    }

    fn start(&self) {
        self.start();
    }

    fn stop(&self) {
        self.stop();
    }

    fn starts(&self) -> bool {
        self.try_start()
    }

    type Load = harness::mariadb::Load;

    fn load(&self) -> Self::Load {
        self.load()
    }

    fn added(&self) -> u64 {
        self.added()
    }

    fn check(&self) {
        self.check();
    }

    fn is_running(&self) -> bool {
        self.is_running()
    }

    fn log(&self) -> String {
        self.log()
    }
}

impl Database for Postgres {
    const USER: &'static str = "postgres";
    const ERRORS: &'static [&'static str] = &["Input/output error"];

    fn init(dir: &Path) -> Self {
        let postgres = Self::init(dir);
        postgres.start();
        postgres.run("pgbench", &["-i", "-s", "1", "-q"]).expect_code(0);
        postgres
    }

    fn at(dir: &Path) -> Self {
        Self::at(dir)
    }

    fn start(&self) {
        self.start();
    }

    fn stop(&self) {
        self.stop();
    }

    fn starts(&self) -> bool {
        self.try_start().code == 0
    }

    type Load = Pgbench;

    fn load(&self) -> Pgbench {
        let mut pgbench = self.command("pgbench");
        pgbench.args(["-n", "-c", "2", "-T", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
        Pgbench(pgbench.spawn().unwrap())
    }

    fn added(&self) -> u64 {
        self.query("SELECT count(*) FROM pgbench_history").parse().unwrap()
    }

    fn check(&self) {
        self.check();
    }

    fn is_running(&self) -> bool {
        self.is_running()
    }

    fn log(&self) -> String {
        self.log()
    }
}

struct Pgbench(Child);

impl Drop for Pgbench {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn attach(host: &Host, volume: &str, dir: &Path, user: &str) -> Ran {
    host.envol(&["attach", volume, dir.to_str().unwrap(), "--owner", user, "--probe-interval", "2s"])
}

fn there_and_back<D: Database>() {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let (dir, back): (PathBuf, PathBuf) = (host.directory("mnt"), host.directory("back"));
    attach(&host, &volume, &dir, D::USER).expect_code(0);
    let database = D::init(&dir);
    let load = database.load();
    wait_until("some rows", DEADLINE, || database.added() > 100);

    let before = database.added();
    let snapshot = host.snapshot(&volume, &[])["snapshot_id"].as_str().unwrap().to_owned();
    wait_until("rows after the snapshot", DEADLINE, || database.added() > before + 100);

    host.disable_key();
    let revoked = Instant::now();
    wait_until("terminal", DEADLINE, || host.status(&volume)["state"] == "terminal");
    wait_until("the end of the database", STOPPED_DEADLINE, || !database.is_running());
    println!("{}: the database has stopped {:?} after the revocation", D::USER, revoked.elapsed());
    drop(load);
    let log = database.log();
    let said = log.lines().find(|line| D::ERRORS.iter().any(|error| line.contains(error)));
    println!("{}: {}", D::USER, said.unwrap_or_else(|| panic!("no word of it in the log:\n{log}")));
    assert!(!database.starts());
    drop(database);

    // Nothing but the key's owner opens the snapshot either.
    host.try_restore(&snapshot, &[]).expect_code(4).expect_stderr("disabled");
    host.enable_key();
    attach(&host, &volume, &dir, D::USER).expect_code(6);
    let restored = host.restore(&snapshot, &[]);
    attach(&host, &restored, &back, D::USER).expect_code(0);
    let database = D::at(&back);
    database.start();
    database.check();
    let found = database.added();
    assert!(found >= before, "{found} of {before} committed rows are in the snapshot");
    let load = database.load();
    wait_until("the load to go on", DEADLINE, || database.added() > found + 50);
    drop(load);
    database.stop();
    host.envol(&["detach", &restored]).expect_code(0);
    attach(&host, &volume, &dir, D::USER).expect_code(6);
}

#[test]
fn a_snapshot_from_before_the_revocation_brings_postgresql_back() {
    there_and_back::<Postgres>();
}

#[test]
fn a_snapshot_from_before_the_revocation_brings_mariadb_back() {
    there_and_back::<MariaDb>();
}
