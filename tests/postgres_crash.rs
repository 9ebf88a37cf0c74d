//! What PostgreSQL acknowledged survives kill -9 of the daemon under it, again and again.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use harness::postgres::Postgres;
use harness::witness::{ROWS, SUMS, TABLES, Witness};
use harness::{Host, soak_rounds, wait_until};

const ROUNDS: usize = 5;

const END_DEADLINE: Duration = Duration::from_secs(60);

/// pgbench moves each delta in four tables at once.
fn compare_pgbench(postgres: &Postgres) {
    let sums = postgres.query(
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers), \
         (SELECT sum(bbalance) FROM pgbench_branches), (SELECT sum(delta) FROM pgbench_history)",
    );
    let sum: Vec<&str> = sums.split('|').collect();
    assert!(sum.iter().all(|other| *other == sum[0]), "{sums}");
}

#[test]
fn a_killed_daemon_loses_nothing_that_the_database_acknowledged() {
    let (host, rounds) = match soak_rounds() {
        Some(rounds) => (Host::unwatched(), rounds),
        None => (Host::new(), ROUNDS),
    };
    let volume = host.create(&["--size", "8GiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    host.envol(&["attach", &volume, dir_text, "--owner", "postgres"]).expect_code(0);
    let postgres = Postgres::init(&dir);
    postgres.start();
    TABLES.iter().for_each(|sql| drop(postgres.query(sql)));
    postgres.run("pgbench", &["-i", "-s", "2", "-q"]).expect_code(0);

    let witness = Witness::default();
    for round in 0..rounds {
        let mut pgbench = postgres.command("pgbench");
        // Without -n it would empty its history first.
        pgbench.args(["-n", "-c", "2", "-T", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pgbench = pgbench.spawn().unwrap();
        thread::scope(|scope| {
            let client = || postgres.client();
            witness.load_until_killed(round, client, || {
                // In the middle of a checkpoint, every other time: many pages are under way then.
                if round % 2 == 1 {
                    scope.spawn(|| postgres.client().ask("CHECKPOINT; SELECT 1;"));
                }
                host.kill_daemon(&volume);
            });
        });
        pgbench.wait().unwrap();

        // Either the database is stopped first, or attach ends what is left of it.
        if round % 2 == 0 {
            postgres.kill();
            host.envol(&["attach", &volume, dir_text]).expect_code(0);
        } else {
            host.envol(&["attach", &volume, dir_text, "--force"]).expect_code(0);
            wait_until("the end of the database", END_DEADLINE, || !postgres.is_running());
        }
        postgres.start();
        postgres.check();
        witness.compare(&postgres.query(ROWS), &postgres.query(SUMS), round + 1);
        compare_pgbench(&postgres);
    }
    postgres.stop();
    host.envol(&["detach", &volume]).expect_code(0);
}
