//! What PostgreSQL acknowledged survives kill -9 of the daemon under it, again and again.
//!
//! The witness is this test: it remembers each COMMIT that a client was told of, outside of the volume. pg_amcheck alone
//! would not see a page that came back empty.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use harness::postgres::Postgres;
use harness::{Host, wait_until};

const ROUNDS: usize = 5;
const WRITERS: usize = 4;

/// Acknowledged in each round before the daemon is killed, so that every round has something to lose.
const COMMITS_PER_ROUND: usize = 400;

const LOAD_DEADLINE: Duration = Duration::from_secs(60);

/// A committed transaction: a row of `ledger`, and the same amount on the `account` of that writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    writer: usize,
    number: usize,
    amount: usize,
}

#[derive(Default)]
struct Witness {
    acknowledged: Mutex<BTreeSet<Entry>>,
}

impl Witness {
    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Writes until the connection breaks.
    fn write(&self, postgres: &Postgres, round: usize, writer: usize) {
        let mut client = postgres.client();
        for number in round * 1_000_000.. {
            let entry = Entry { writer, number, amount: number.wrapping_mul(2_654_435_761) % 10_007 };
            let transaction = format!(
                "BEGIN; INSERT INTO ledger VALUES ({writer}, {number}, {amount}, repeat('x', {length})); \
                 UPDATE account SET balance = balance + {amount} WHERE writer = {writer}; COMMIT; SELECT {number};",
                amount = entry.amount,
                length = number % 2000,
            );
            match client.ask(&transaction) {
                Some(answer) => assert_eq!(answer, number.to_string()),
                None => return,
            }
            self.acknowledged.lock().unwrap().insert(entry);
        }
    }

    /// All that was acknowledged is there, and no more than what each writer had under way in each round.
    fn compare(&self, postgres: &Postgres, rounds: usize) {
        let rows = postgres.query("SELECT writer, number, amount FROM ledger");
        let number = |text: &str| text.parse::<usize>().unwrap();
        let found: BTreeSet<Entry> = rows
            .lines()
            .map(|line| match line.split('|').collect::<Vec<_>>()[..] {
                [writer, n, amount] => Entry { writer: number(writer), number: number(n), amount: number(amount) },
                _ => panic!("{line}"),
            })
            .collect();
        let acknowledged = self.acknowledged.lock().unwrap();
        let lost: Vec<&Entry> = acknowledged.difference(&found).collect();
        assert_eq!(lost, Vec::<&Entry>::new(), "acknowledged, and not there");
        let extra = found.difference(&acknowledged).count();
        assert!(extra <= WRITERS * rounds, "{extra} rows that nobody was told of");
        println!("{} acknowledged, all there, and {extra} that were under way", acknowledged.len());

        let sums = postgres.query(
            "SELECT (SELECT count(*) FROM ledger), (SELECT sum(amount) FROM ledger), (SELECT sum(balance) FROM account)",
        );
        let sum: usize = found.iter().map(|entry| entry.amount).sum();
        assert_eq!(sums, format!("{}|{sum}|{sum}", found.len()));
    }
}

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
    let host = Host::new();
    let volume = host.create(&["--size", "2GiB"]);
    let dir = host.directory("mnt");
    let dir_text = dir.to_str().unwrap();
    host.envol(&["attach", &volume, dir_text, "--owner", "postgres"]).expect_code(0);
    let postgres = Postgres::init(&dir);
    postgres.start();
    postgres.query(
        "CREATE TABLE ledger (writer int, number int, amount int, filler text, PRIMARY KEY (writer, number)); \
         CREATE TABLE account (writer int PRIMARY KEY, balance bigint)",
    );
    postgres.query(&format!("INSERT INTO account SELECT n, 0 FROM generate_series(0, {}) n", WRITERS - 1));
    postgres.run("pgbench", &["-i", "-s", "2", "-q"]).expect_code(0);

    let witness = Witness::default();
    for round in 0..ROUNDS {
        let before = witness.count();
        let mut pgbench = postgres.command("pgbench");
        // Without -n it would empty its history first.
        pgbench.args(["-n", "-c", "2", "-T", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut pgbench = pgbench.spawn().unwrap();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (witness, postgres) = (&witness, &postgres);
                scope.spawn(move || witness.write(postgres, round, writer));
            }
            wait_until("enough commits", LOAD_DEADLINE, || witness.count() >= before + COMMITS_PER_ROUND);
            // In the middle of a checkpoint, every other time: many pages are under way then.
            if round % 2 == 1 {
                scope.spawn(|| postgres.client().ask("CHECKPOINT; SELECT 1;"));
            }
            host.kill_daemon(&volume);
            // The writers end with the first statement that fails.
        });
        pgbench.wait().unwrap();

        // Either the database is stopped first, or attach ends what is left of it.
        if round % 2 == 0 {
            postgres.kill();
            host.envol(&["attach", &volume, dir_text]).expect_code(0);
        } else {
            host.envol(&["attach", &volume, dir_text, "--force"]).expect_code(0);
            wait_until("the end of the database", LOAD_DEADLINE, || !postgres.is_running());
        }
        postgres.start();
        postgres.check();
        witness.compare(&postgres, round + 1);
        compare_pgbench(&postgres);
    }
    postgres.stop();
    host.envol(&["detach", &volume]).expect_code(0);
}
