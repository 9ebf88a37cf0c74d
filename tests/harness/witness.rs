//! Who remembers, outside of the volume, each COMMIT that a client was told of. A check of the database alone would not see a page
//! that came back empty.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use super::client::Client;
use super::wait_until;

/// `account` has a row for each.
const WRITERS: usize = 4;

const COMMITS_PER_ROUND: usize = 400;

const LOAD_DEADLINE: Duration = Duration::from_secs(60);

/// For a database without these tables.
pub const TABLES: [&str; 3] = [
    "CREATE TABLE ledger (writer INT, number INT, amount INT, filler TEXT, PRIMARY KEY (writer, number))",
    "CREATE TABLE account (writer INT PRIMARY KEY, balance BIGINT)",
    "INSERT INTO account VALUES (0, 0), (1, 0), (2, 0), (3, 0)",
];

/// What [`Witness::compare`] wants to see of them.
pub const ROWS: &str = "SELECT writer, number, amount FROM ledger";
pub const SUMS: &str =
    "SELECT (SELECT COUNT(*) FROM ledger), (SELECT SUM(amount) FROM ledger), (SELECT SUM(balance) FROM account)";

/// A committed transaction: a row of `ledger`, and the same amount on the `account` of that writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    writer: usize,
    number: usize,
    amount: usize,
}

#[derive(Default)]
pub struct Witness {
    acknowledged: Mutex<BTreeSet<Entry>>,
}

impl Witness {
    fn count(&self) -> usize {
        self.acknowledged.lock().expect("not poisoned").len()
    }

    /// Writers at work, until enough was acknowledged in this round that there is something to lose; then `kill`, at which they end.
    pub fn load_until_killed(&self, round: usize, client: impl Fn() -> Client + Sync, kill: impl FnOnce()) {
        let before = self.count();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let client = &client;
                scope.spawn(move || self.write(client(), round, writer));
            }
            wait_until("enough commits", LOAD_DEADLINE, || self.count() >= before + COMMITS_PER_ROUND);
            kill();
        });
    }

    /// Writes until the connection breaks.
    fn write(&self, mut client: Client, round: usize, writer: usize) {
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
            self.acknowledged.lock().expect("not poisoned").insert(entry);
        }
    }

    /// `rows` and `sums`: what the database answers to [`ROWS`] and [`SUMS`]. All that was acknowledged is there, and no more than
    /// what each writer had under way in each of the `rounds`.
    pub fn compare(&self, rows: &str, sums: &str, rounds: usize) {
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let columns = |line: &str| line.split(['|', '\t']).map(number).collect::<Vec<_>>();
        let found: BTreeSet<Entry> = rows
            .lines()
            .map(|line| match columns(line)[..] {
                [writer, number, amount] => Entry { writer, number, amount },
                _ => panic!("{line}"),
            })
            .collect();
        let acknowledged = self.acknowledged.lock().expect("not poisoned");
        let lost: Vec<&Entry> = acknowledged.difference(&found).collect();
        assert_eq!(lost, Vec::<&Entry>::new(), "acknowledged, and not there");
        let extra = found.difference(&acknowledged).count();
        assert!(extra <= WRITERS * rounds, "{extra} rows that nobody was told of");
        println!("round {rounds}: {} acknowledged, all there, and {extra} that were under way", acknowledged.len());
        let sum: usize = found.iter().map(|entry| entry.amount).sum();
        assert_eq!(columns(sums), [found.len(), sum, sum]);
    }
}
