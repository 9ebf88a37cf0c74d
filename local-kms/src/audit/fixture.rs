//! A log with small files, for the tests of both sides.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use super::{AuditFilter, AuditLog, AuditSummary, Record, read_audit};
use crate::account::{ACCOUNT_ID, Account};
use crate::clock::Clock;
use crate::state::KeyId;

const START: &str = "2026-11-24T17:20:28.123Z";

pub(super) struct Fixture {
    pub(super) dir: TempDir,
    now_ms: Arc<AtomicI64>,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("state.redb"), "").unwrap();
        Self { dir, now_ms: Arc::new(AtomicI64::new(START.parse::<Timestamp>().unwrap().as_millisecond())) }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// With room in each file for `records` records, which are all of one length.
    pub(super) fn log(&self, records: u64) -> AuditLog {
        let now_ms = Arc::clone(&self.now_ms);
        let clock = Clock::from_fn(move || Timestamp::from_millisecond(now_ms.load(Ordering::SeqCst)).unwrap());
        AuditLog::with_max_file_len(self.path(), clock, records * line(0).len() as u64).unwrap()
    }

    pub(super) fn pass_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Names and contents of the log's files, in the order of the names.
    pub(super) fn files(&self) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(self.path()).unwrap().map(Result::unwrap);
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("audit")).collect();
        names.sort_unstable();
        let content = |name: &String| std::fs::read_to_string(self.path().join(name)).unwrap();
        names.iter().map(|name| (name.clone(), content(name))).collect()
    }

    /// What a reader is shown.
    pub(super) fn read(&self) -> (Vec<u64>, AuditSummary) {
        let mut numbers = Vec::new();
        let mut on_record = |read: &super::AuditRecord| {
            numbers.push(number_of(read.record));
            ControlFlow::Continue(())
        };
        let summary = read_audit(self.path(), &AuditFilter::default(), None, &mut on_record).unwrap();
        (numbers, summary)
    }
}

/// Record `number`, which is that of a change.
pub(super) fn record(number: u64) -> Record {
    let account = Account { account_id: ACCOUNT_ID.to_owned(), region: "us-east-1".to_owned() };
    Record::service_event(
        &account,
        START.parse().unwrap(),
        "DeleteKey",
        KeyId::from_bytes(u128::from(number).to_le_bytes()),
    )
}

pub(super) fn line(number: u64) -> String {
    serde_json::to_string(&record(number)).unwrap() + "\n"
}

pub(super) fn number_of(record: &Value) -> u64 {
    let key = record["serviceEventDetails"]["keyId"].as_str().unwrap();
    u128::from_le_bytes(key.parse::<Uuid>().unwrap().into_bytes()).try_into().unwrap()
}
