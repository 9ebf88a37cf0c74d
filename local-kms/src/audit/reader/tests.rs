//! Every record once and in order, also while the files change; nothing that is no record.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::super::fixture::{Fixture, line, number_of, record};
use super::{AuditFilter, AuditSummary, CURRENT, Files, OpenError, Reader, read_audit};

/// A record is seen long before, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// Somebody who follows the log.
struct Follower {
    numbers: Receiver<u64>,
    stop: Option<Sender<()>>,
    thread: JoinHandle<AuditSummary>,
}

impl Follower {
    fn start(dir: &Path) -> Self {
        let (dir, (seen, numbers), (stop, until)) = (dir.to_owned(), mpsc::channel(), mpsc::channel());
        let thread = std::thread::spawn(move || {
            let mut on_record = |read: &super::AuditRecord| {
                seen.send(number_of(read.record)).unwrap();
                ControlFlow::Continue(())
            };
            read_audit(&dir, &AuditFilter::default(), Some(&until), &mut on_record).unwrap()
        });
        Self { numbers, stop: Some(stop), thread }
    }

    #[track_caller]
    fn expect(&self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            assert_eq!(self.numbers.recv_timeout(DEADLINE), Ok(number));
        }
    }

    /// Nothing more may have come.
    #[track_caller]
    fn stop(mut self) -> AuditSummary {
        drop(self.stop.take());
        let summary = self.thread.join().unwrap();
        assert_eq!(self.numbers.try_iter().collect::<Vec<_>>(), Vec::<u64>::new());
        summary
    }
}

fn append_text(path: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_line_is_shown_as_it_is_stored() {
    let fixture = Fixture::new();
    let stored = r#"{"z":1,  "a":"\u00e9"}"#;
    append_text(&fixture.path().join(CURRENT), &format!("{stored}\n"));
    let mut seen = Vec::new();
    let mut on_record = |read: &super::AuditRecord| {
        seen.push((read.line.to_owned(), read.record["a"].clone()));
        ControlFlow::Continue(())
    };
    read_audit(fixture.path(), &AuditFilter::default(), None, &mut on_record).unwrap();
    assert_eq!(seen, [(stored.to_owned(), "é".into())]);
}

#[test]
fn what_is_no_record_is_counted_and_skipped() {
    let fixture = Fixture::new();
    let current = fixture.path().join(CURRENT);
    append_text(&current, &(line(0) + "{\"torn\n\n12\n" + &line(1)));
    assert_eq!(fixture.read(), (vec![0, 1], AuditSummary { torn_lines: 2 }));
    // Without its end a line may be torn, or whole.
    append_text(&current, line(2).trim_end());
    assert_eq!(fixture.read(), (vec![0, 1, 2], AuditSummary { torn_lines: 2 }));
    append_text(&current, &("\n".to_owned() + &line(3)[..100]));
    assert_eq!(fixture.read(), (vec![0, 1, 2], AuditSummary { torn_lines: 3 }));
}

#[test]
fn a_filter_chooses_and_a_break_ends() {
    let fixture = Fixture::new();
    let log = fixture.log(2);
    (0..7).for_each(|number| log.append(&record(number)).unwrap());
    let third: serde_json::Value = serde_json::from_str(&line(3)).unwrap();
    let key = third["serviceEventDetails"]["keyId"].as_str().unwrap().to_owned();
    let read = |filter: &AuditFilter, count: usize| {
        let mut seen = Vec::new();
        let mut on_record = |read: &super::AuditRecord| {
            seen.push(number_of(read.record));
            if seen.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        read_audit(fixture.path(), filter, None, &mut on_record).unwrap();
        seen
    };
    assert_eq!(read(&AuditFilter { key: Some(key), ..AuditFilter::default() }, 9), [3]);
    assert_eq!(read(&AuditFilter::default(), 9), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(read(&AuditFilter::default(), 5), [0, 1, 2, 3, 4]);
}

#[test]
fn only_a_directory_of_a_server_has_a_log() {
    let fixture = Fixture::new();
    assert_eq!(fixture.read(), (vec![], AuditSummary::default()));
    fs::remove_file(fixture.path().join("state.redb")).unwrap();
    let read = read_audit(fixture.path(), &AuditFilter::default(), None, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(read, Err(OpenError::NotInitialised { dir }) if dir == fixture.path()));
}

#[test]
fn following_goes_on_across_rotations_without_loss_or_duplicates() {
    let fixture = Fixture::new();
    let follower = Follower::start(fixture.path());
    let log = fixture.log(3);
    for number in 0..400 {
        log.append(&record(number)).unwrap();
        // Sometimes it is behind by many files, sometimes it waits at the end of the last.
        if number % 50 == 20 {
            follower.expect(if number == 20 { 0..=number } else { number - 49..=number });
        }
    }
    follower.expect(371..400);
    assert_eq!(follower.stop(), AuditSummary::default());
    assert_eq!(fixture.files().len(), 134);
}

#[test]
fn several_followers_of_a_writer_that_does_not_wait_see_the_same() {
    let fixture = Fixture::new();
    let log = fixture.log(2);
    let followers: Vec<_> = (0..3).map(|_| Follower::start(fixture.path())).collect();
    let mut expected = 0;
    for number in 0..600 {
        log.append(&record(number)).unwrap();
        // Beside them, somebody reads what there is so far.
        if number % 200 == 199 {
            expected += 200;
            assert_eq!(fixture.read().0, (0..expected).collect::<Vec<_>>());
        }
    }
    for follower in followers {
        follower.expect(0..600);
        follower.stop();
    }
}

#[test]
fn following_waits_for_the_rest_of_a_line_and_for_a_file_that_is_full_already() {
    let fixture = Fixture::new();
    let current = fixture.path().join(CURRENT);
    let follower = Follower::start(fixture.path());
    append_text(&current, &(line(0) + &line(1)[..100]));
    follower.expect(0..1);
    append_text(&current, &line(1)[100..]);
    follower.expect(1..2);
    // As between the two steps of a rotation, and while the second fails.
    let full = fixture.path().join("audit-20261124T172028.123Z.jsonl");
    fs::rename(&current, &full).unwrap();
    append_text(&full, &(line(2) + &line(3)[..100]));
    follower.expect(2..3);
    append_text(&current, &line(4));
    follower.expect(4..5);
    assert_eq!(follower.stop(), AuditSummary { torn_lines: 1 });
}

#[test]
fn what_was_appended_between_a_look_at_the_end_and_the_rotation_is_not_missed() {
    let fixture = Fixture::new();
    let current = fixture.path().join(CURRENT);
    append_text(&current, &line(0));
    let mut numbers = Vec::new();
    let mut reader = Reader {
        filter: &AuditFilter::default(),
        until: None,
        on_record: &mut |read| {
            numbers.push(number_of(read.record));
            ControlFlow::Continue(())
        },
        summary: AuditSummary::default(),
    };
    let mut files = Files { dir: fixture.path().to_owned(), after: None };
    let mut file = files.next(None).unwrap().unwrap();
    assert!(reader.read_lines(&mut file).unwrap().is_continue());
    assert!(files.next(Some(&file)).unwrap().is_none());
    append_text(&current, &line(1));
    fs::rename(&current, fixture.path().join("audit-20261124T172028.123Z.jsonl")).unwrap();
    assert!(files.next(Some(&file)).unwrap().is_none());
    append_text(&current, &line(2));
    let next = files.next(Some(&file)).unwrap().unwrap();
    assert!(reader.finish(file).unwrap().is_continue());
    assert!(reader.finish(next).unwrap().is_continue());
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn following_goes_on_when_an_administrator_deletes_old_files() {
    let fixture = Fixture::new();
    let log = fixture.log(1);
    let follower = Follower::start(fixture.path());
    log.append(&record(0)).unwrap();
    follower.expect(0..1);
    for number in 1..6 {
        log.append(&record(number)).unwrap();
        follower.expect(number..=number);
        for (name, _) in fixture.files().iter().filter(|(name, _)| name != CURRENT) {
            fs::remove_file(fixture.path().join(name)).unwrap();
        }
    }
    follower.stop();
}
