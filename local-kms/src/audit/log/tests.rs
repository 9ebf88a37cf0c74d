//! A full file is put away whole, and nothing on the way to the next one costs a record.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::fixture::{Fixture, line, record};
use super::{AuditLog, CURRENT};

const FIRST: &str = "audit-20261124T172028.123Z.jsonl";
const SECOND: &str = "audit-20261124T172028.124Z.jsonl";

fn append(log: &AuditLog, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|number| log.append(&record(number)).unwrap());
}

fn numbers(fixture: &Fixture) -> Vec<u64> {
    fixture.read().0
}

fn names(fixture: &Fixture) -> Vec<String> {
    fixture.files().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_file_is_put_away_when_the_next_record_would_exceed_the_limit() {
    let fixture = Fixture::new();
    let log = fixture.log(3);
    append(&log, 0..3);
    assert_eq!(names(&fixture), [CURRENT]);
    append(&log, 3..4);
    assert_eq!(names(&fixture), [FIRST, CURRENT]);
    let lines: Vec<_> = fixture.files().iter().map(|(_, content)| content.lines().count()).collect();
    assert_eq!(lines, [3, 1]);
    for name in names(&fixture) {
        assert_eq!(fs::metadata(fixture.path().join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(numbers(&fixture), [0, 1, 2, 3]);
}

#[test]
fn a_record_longer_than_the_limit_is_kept_whole() {
    let fixture = Fixture::new();
    let log = fixture.log(0);
    append(&log, 0..3);
    assert!(fixture.files().iter().all(|(_, content)| content.lines().count() == 1), "{:?}", fixture.files());
    assert_eq!(numbers(&fixture), [0, 1, 2]);
}

#[test]
fn order_is_kept_over_many_rotations_whatever_the_clock_does() {
    let fixture = Fixture::new();
    let log = fixture.log(2);
    let steps = [0, 1, 5000, -60_000, 0, 86_400_000, -1];
    for number in 0..100 {
        fixture.pass_ms(steps[usize::try_from(number).unwrap() % steps.len()]);
        append(&log, [number]);
    }
    drop(log);
    append(&fixture.log(2), 100..120);
    assert_eq!(fixture.files().len(), 60);
    assert_eq!(numbers(&fixture), (0..120).collect::<Vec<_>>());
}

#[test]
fn rotation_replaces_no_file() {
    let fixture = Fixture::new();
    fs::write(fixture.path().join(FIRST), "somebody's\n").unwrap();
    append(&fixture.log(1), 0..2);
    assert_eq!(names(&fixture), [FIRST, SECOND, CURRENT]);
    assert_eq!(fixture.files()[0].1, "somebody's\n");
    assert_eq!(numbers(&fixture), [0, 1]);
}

#[test]
fn a_torn_line_at_the_end_of_a_full_file_costs_only_itself() {
    let fixture = Fixture::new();
    append(&fixture.log(2), 0..1);
    let torn = &line(1)[..40];
    OpenOptions::new().append(true).open(fixture.path().join(CURRENT)).unwrap().write_all(torn.as_bytes()).unwrap();
    append(&fixture.log(2), 2..5);
    assert_eq!(names(&fixture), [FIRST, SECOND, CURRENT]);
    assert!(fixture.files()[0].1.ends_with(torn));
    let (numbers, summary) = fixture.read();
    assert_eq!((numbers.as_slice(), summary.torn_lines), ([0, 2, 3, 4].as_slice(), 1));
}

#[test]
fn a_kill_between_the_steps_of_a_rotation_loses_nothing() {
    let fixture = Fixture::new();
    append(&fixture.log(2), 0..2);
    fs::rename(fixture.path().join(CURRENT), fixture.path().join(FIRST)).unwrap();
    assert_eq!(numbers(&fixture), [0, 1]);
    append(&fixture.log(2), 2..5);
    assert_eq!(names(&fixture), [FIRST, SECOND, CURRENT]);
    assert_eq!(numbers(&fixture), [0, 1, 2, 3, 4]);
}

#[test]
fn a_rotation_that_fails_keeps_no_record_from_the_log() {
    let fixture = Fixture::new();
    let log = fixture.log(2);
    let set_dir = |dir: &Path| log.0.lock().unwrap().dir = dir.to_owned();
    append(&log, 0..2);

    // Neither step can be taken: the file grows on.
    set_dir(&fixture.path().join("missing"));
    append(&log, 2..4);
    assert!(log.0.lock().unwrap().rotation_failed);
    assert_eq!((names(&fixture), numbers(&fixture)), (vec![CURRENT.to_owned()], vec![0, 1, 2, 3]));

    // Only the first: it grows on under its last name.
    fs::rename(fixture.path().join(CURRENT), fixture.path().join(FIRST)).unwrap();
    log.0.lock().unwrap().renamed = true;
    append(&log, 4..6);
    assert_eq!((names(&fixture), numbers(&fixture)), (vec![FIRST.to_owned()], vec![0, 1, 2, 3, 4, 5]));

    set_dir(fixture.path());
    append(&log, 6..9);
    assert!(!log.0.lock().unwrap().rotation_failed);
    assert_eq!(names(&fixture), [FIRST, SECOND, CURRENT]);
    assert_eq!(numbers(&fixture), (0..9).collect::<Vec<_>>());
}

#[test]
fn without_a_later_name_the_file_grows_on() {
    let fixture = Fixture::new();
    // The last millisecond there is.
    let last = fixture.path().join("audit-99991230T220000.999Z.jsonl");
    fs::write(&last, "").unwrap();
    append(&fixture.log(1), 0..3);
    assert_eq!(numbers(&fixture), [0, 1, 2]);
    assert_eq!(fixture.files().len(), 2);
    fs::remove_file(last).unwrap();
    append(&fixture.log(1), 3..4);
    assert_eq!((names(&fixture), numbers(&fixture)), (vec![FIRST.to_owned(), CURRENT.to_owned()], vec![0, 1, 2, 3]));
}
