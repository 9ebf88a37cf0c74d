//! What databases make of it: pgbench, sysbench on MariaDB, and fio on a file beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Setting;
use crate::arguments::Level;
use crate::contender::Contender;
use crate::cpu;
use crate::file_system::{self, FileSystem};
use crate::fio::{self, How, Job};
use crate::guards::run;
use crate::harness::mariadb::MariaDb;
use crate::harness::postgres::Postgres;
use crate::place::{Kind, Place, settle};
use crate::rounds::{Row, Sample, Unit, round_robin};

const PGBENCH: &str = "pgbench";
const SYSBENCH: &str = "sysbench-oltp_read_write";
const CLIENTS: &str = "8";

/// A database needs longer than fio until it goes evenly.
const TIMES_AS_LONG: u64 = 5;

const FILE_BYTES: u64 = 256 << 20;

enum Work {
    Pgbench,
    Sysbench,
    Fio(Job),
}

struct Databases<'a> {
    postgres: Option<Postgres>,
    mariadb: Option<MariaDb>,
    file: PathBuf,
    _file_system: FileSystem<'a>,
}

fn work() -> Vec<(String, Unit, Work)> {
    let fio = [
        Job::new("1m-read-qd8", Unit::MbPerS, "--rw=read --bs=1m --iodepth=8"),
        Job::new("1m-write-qd8", Unit::MbPerS, "--rw=write --bs=1m --iodepth=8"),
        Job::new("8k-randwrite-fsync", Unit::RequestsPerS, "--rw=randwrite --bs=8k --iodepth=1 --fsync=1"),
    ];
    let databases = [
        (PGBENCH.to_owned(), Unit::TransactionsPerS, Work::Pgbench),
        (SYSBENCH.to_owned(), Unit::TransactionsPerS, Work::Sysbench),
    ];
    databases.into_iter().chain(fio.map(|job| (job.name.clone(), job.unit, Work::Fio(job)))).collect()
}

pub(crate) fn measure(setting: &Setting, place: &Place, contenders: &[Contender]) -> Vec<Row> {
    let arguments = &setting.arguments;
    let work: Vec<_> = work().into_iter().filter(|(name, ..)| arguments.wants(name)).collect();
    let mut all = Vec::new();
    for contender in contenders {
        eprintln!("database, {}: {contender} is made and filled", place.kind);
        let file_system = file_system::make(*contender, setting, place, arguments.file_system_size << 20);
        let wants = |name| work.iter().any(|(known, ..)| known == name);
        all.push(Databases {
            postgres: wants(PGBENCH).then(|| with_pgbench(&file_system.dir)),
            mariadb: wants(SYSBENCH).then(|| with_sysbench(&file_system.dir)),
            file: file_system::file(&file_system.dir, "file", FILE_BYTES),
            _file_system: file_system,
        });
    }
    let names: Vec<&str> = work.iter().map(|(name, ..)| name.as_str()).collect();
    let label = format!("database, {}", place.kind);
    let keep_caches = !arguments.uncached || place.kind == Kind::Tmpfs;
    let samples = round_robin(&label, arguments.rounds, &names, contenders, |job, contender, round| {
        let databases = &all[contender];
        match &work[job].2 {
            Work::Pgbench => pgbench(databases.postgres.as_ref().unwrap(), arguments.seconds, keep_caches),
            Work::Sysbench => sysbench(databases.mariadb.as_ref().unwrap(), arguments.seconds, keep_caches),
            Work::Fio(job) => {
                let how = How { seconds: arguments.seconds, round, keep_caches };
                fio::measure(job, &databases.file, how)
            }
        }
    });
    let rows = work.iter().zip(samples).map(|((name, unit, _), samples)| Row {
        place: place.kind,
        level: Level::Database,
        job: name.clone(),
        unit: *unit,
        measured: contenders.iter().copied().zip(samples).collect(),
    });
    rows.collect()
}

/// A directory that belongs to the database's user.
fn owned(dir: &Path, user: &str) -> PathBuf {
    let path = dir.join(user);
    fs::create_dir(&path).unwrap();
    run(Command::new("chown").arg(format!("{user}:")).arg(&path));
    path
}

/// The server is stopped again: it runs only while it is measured.
fn with_pgbench(dir: &Path) -> Postgres {
    let postgres = Postgres::init(&owned(dir, "postgres"));
    postgres.start();
    postgres.run("pgbench", &["-i", "-s", "10", "-q"]).expect_code(0);
    postgres.stop();
    postgres
}

fn with_sysbench(dir: &Path) -> MariaDb {
    let mariadb = MariaDb::init(&owned(dir, "mysql"));
    mariadb.start();
    mariadb.query("CREATE DATABASE sbtest");
    run(sysbench_on(&mariadb).arg("prepare"));
    mariadb.stop();
    mariadb
}

fn pgbench(postgres: &Postgres, seconds: u64, keep_caches: bool) -> Sample {
    postgres.start();
    postgres.query("CHECKPOINT");
    let seconds = (seconds * TIMES_AS_LONG).to_string();
    let sample = transactions(keep_caches, || {
        let printed = postgres.run("pgbench", &["-n", "-c", CLIENTS, "-j", "2", "-T", &seconds]).expect_code(0).stdout;
        let count = number(&printed, "number of transactions actually processed: ");
        (number(&printed, "tps = "), count)
    });
    postgres.stop();
    sample
}

fn sysbench(mariadb: &MariaDb, seconds: u64, keep_caches: bool) -> Sample {
    mariadb.start();
    let seconds = (seconds * TIMES_AS_LONG).to_string();
    let sample = transactions(keep_caches, || {
        let printed = run(sysbench_on(mariadb).arg(format!("--time={seconds}")).arg("run"));
        let line = printed.lines().find(|line| line.contains("transactions:")).unwrap();
        (number(line, "("), number(line, "transactions:"))
    });
    mariadb.stop();
    sample
}

fn sysbench_on(mariadb: &MariaDb) -> Command {
    let mut sysbench = Command::new("sysbench");
    sysbench.args(["oltp_read_write", "--db-driver=mysql", "--mysql-user=root", "--tables=4", "--table-size=50000"]);
    sysbench.arg(format!("--threads={CLIENTS}")).arg(format!("--mysql-socket={}", mariadb.socket()));
    sysbench
}

/// `run` says how many in a second, and how many in all.
fn transactions(keep_caches: bool, run: impl FnOnce() -> (f64, f64)) -> Sample {
    settle(keep_caches);
    let before = cpu::busy_s();
    let (value, count) = run();
    let cpu_s = (cpu::busy_s() - before) / count * 1000.0;
    Sample { value, p99_us: None, cpu_s: Some(cpu_s) }
}

/// The number that follows `before` in `text`.
fn number(text: &str, before: &str) -> f64 {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in: {text}")).1.trim_start();
    let end = rest.find(|symbol: char| !symbol.is_ascii_digit() && symbol != '.').unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}
