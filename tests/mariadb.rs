//! A real MariaDB on a volume, as for PostgreSQL: it works, and its data is there the next time.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::time::Duration;

use harness::mariadb::MariaDb;
use harness::{Host, wait_until};

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_database_under_load_holds_its_volume_and_finds_its_data_when_it_is_attached_again() {
    let host = Host::new();
    let volume = host.create(&["--size", "1GiB"]);
    let dir = host.directory("mnt");
    let attach = ["attach", &volume, dir.to_str().unwrap(), "--owner", "mysql"];
    host.envol(&attach).expect_code(0);
    let mariadb = MariaDb::init(&dir);
    mariadb.start();
    let mut load = mariadb.load();
    wait_until("some rows", DEADLINE, || mariadb.added() > 500);

    host.envol(&["detach", &volume]).expect_code(8).expect_stderr("mariadbd");
    let before = mariadb.added();
    wait_until("more rows", DEADLINE, || mariadb.added() > before + 500);
    assert!(load.goes_on());
    drop(load);
    mariadb.check();
    let added = mariadb.added();
    mariadb.stop();
    host.envol(&["detach", &volume]).expect_code(0);
    assert!(!mariadb.try_start(), "without its volume there is nothing to start on");

    host.envol(&attach).expect_code(0);
    mariadb.start();
    assert_eq!(mariadb.added(), added);
    mariadb.check();
    // As after a power cut of the server alone: it recovers by its log.
    let load = mariadb.load();
    wait_until("more rows", DEADLINE, || mariadb.added() > added + 500);
    let committed = mariadb.added();
    mariadb.kill();
    drop(load);
    mariadb.start();
    assert!(mariadb.added() >= committed);
    mariadb.check();
    assert!(mariadb.log().contains("crash recovery"), "{}", mariadb.log());
    mariadb.stop();
    host.envol(&["detach", &volume]).expect_code(0);
}
