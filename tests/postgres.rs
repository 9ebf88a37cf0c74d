//! A real PostgreSQL on a volume: it works, its data is there the next time, and the disk under the volume never sees it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::Host;
use harness::postgres::Postgres;

/// Split, so that the search does not find this very program's own command line or source.
const MARKER: [&str; 2] = ["marker-0815", "-in-a-table"];

/// Files below `place` that hold the marker.
fn files_with_marker(place: &Path) -> String {
    let output = Command::new("grep").args(["-r", "-l", "-a", &MARKER.concat()]).arg(place).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_database_works_on_a_volume_and_its_data_never_reaches_the_disk_in_the_clear() {
    let host = Host::new();
    let volume = host.create(&["--size", "2GiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    host.envol(&["attach", &volume, dir_text, "--owner", "postgres"]).expect_code(0);

    let postgres = Postgres::init(&dir);
    postgres.start();
    let [first, second] = MARKER;
    postgres.query(&format!(
        "CREATE TABLE secret AS SELECT n, '{first}' || '{second}' AS text FROM generate_series(1, 1000) n"
    ));
    postgres.run("pgbench", &["-i", "-s", "10", "-q"]).expect_code(0);
    let bench = postgres.run("pgbench", &["-c", "4", "-j", "2", "-T", "10"]).expect_code(0);
    println!("{}", bench.stdout);
    assert!(bench.stdout.contains("number of failed transactions: 0 "), "{}", bench.stdout);
    postgres.query("CHECKPOINT");
    postgres.check();
    let balances = balances(&postgres);
    postgres.stop();

    // The control: where the volume is shown in the clear the marker is found, and by the same search.
    assert!(files_with_marker(&dir).contains("/pgdata/base/"));
    host.envol(&["detach", &volume]).expect_code(0);
    assert_eq!(files_with_marker(host.root()), "");

    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    postgres.start();
    assert_eq!(postgres.query("SELECT count(*) FROM secret"), "1000");
    assert_eq!(self::balances(&postgres), balances);
    postgres.check();
    postgres.stop();
    host.envol(&["detach", &volume]).expect_code(0);
}

/// The four sums that pgbench keeps equal.
fn balances(postgres: &Postgres) -> String {
    let sums = postgres.query(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
         (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)",
    );
    let sum: Vec<&str> = sums.split('|').collect();
    assert!(sum.iter().all(|other| *other == sum[0] && !other.is_empty()), "{sums}");
    sums
}
