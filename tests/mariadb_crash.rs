//! What MariaDB acknowledged survives kill -9 of the daemon under it, again and again.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::time::Duration;

use harness::mariadb::MariaDb;
use harness::witness::{ROWS, SUMS, TABLES, Witness};
use harness::{Host, soak_rounds, wait_until};

const ROUNDS: usize = 3;

const END_DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_killed_daemon_loses_nothing_that_mariadb_acknowledged() {
    let (host, rounds) = match soak_rounds() {
        Some(rounds) => (Host::unwatched(), rounds),
        None => (Host::new(), ROUNDS),
    };
    let volume = host.create(&["--size", "4GiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    host.envol(&["attach", &volume, dir_text, "--owner", "mysql"]).expect_code(0);
    let mariadb = MariaDb::init(&dir);
    mariadb.start();
    mariadb.query("CREATE DATABASE witness");
    let in_its_own = |sql: &str| mariadb.query(&format!("USE witness; {sql}"));
    TABLES.iter().for_each(|sql| drop(in_its_own(sql)));
    // mariadb-install-db does not sync the system tables that are Aria's: on any disk a power cut right after it takes them.
    mariadb.stop();
    host.envol(&["detach", &volume]).expect_code(0);
    host.envol(&["attach", &volume, dir_text]).expect_code(0);
    mariadb.start();

    let witness = Witness::default();
    for round in 0..rounds {
        let session = || mariadb.session("witness");
        witness.load_until_killed(round, session, || {
            // While dirty pages are written back, every other time.
            if round % 2 == 1 {
                mariadb.query("SET GLOBAL innodb_max_dirty_pages_pct = 0, GLOBAL innodb_max_dirty_pages_pct_lwm = 0");
            }
            host.kill_daemon(&volume);
        });
        // Either the database is stopped first, or attach ends what is left of it.
        if round % 2 == 0 {
            mariadb.kill();
            host.envol(&["attach", &volume, dir_text]).expect_code(0);
        } else {
            host.envol(&["attach", &volume, dir_text, "--force"]).expect_code(0);
            wait_until("the end of the database", END_DEADLINE, || !mariadb.is_running());
        }
        mariadb.start();
        mariadb.check();
        witness.compare(&in_its_own(ROWS), &in_its_own(SUMS), round + 1);
    }
    mariadb.stop();
    host.envol(&["detach", &volume]).expect_code(0);
}
