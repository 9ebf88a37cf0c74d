//! The audit log as a person sees it: what was asked for, beside a running server, and all that was acknowledged.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod harness;

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use harness::following::Following;
use harness::{ENVOL, Host, ran};
use serde_json::{Value, json};
use tempfile::TempDir;

const MAX_FILE_LEN: usize = 64 * 1024 * 1024;

fn audit_command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = host.command(ENVOL);
    command.arg("--root").arg(host.root()).args(["kms", "audit"]).args(arguments);
    command
}

/// The lines of `envol kms audit …`, which must succeed.
#[track_caller]
fn audit(host: &Host, arguments: &[&str]) -> Vec<String> {
    let ran = ran(&audit_command(host, arguments).output().unwrap()).expect_code(0);
    assert_eq!(ran.stderr, "");
    ran.stdout.lines().map(str::to_owned).collect()
}

#[track_caller]
fn event_names(lines: &[String]) -> Vec<String> {
    let record = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    lines.iter().map(|line| record(line)["eventName"].as_str().unwrap().to_owned()).collect()
}

fn encrypt(host: &Host, key: &str, context: &str) -> i32 {
    host.aws(&["encrypt", "--key-id", key, "--plaintext", "c2VjcmV0", "--encryption-context", context]).code
}

#[test]
fn the_log_of_a_running_server_is_shown_filtered() {
    let host = Host::new();
    let key = host.key_id();
    assert_eq!(encrypt(&host, "alias/test", "db=A,volume=1"), 0);
    assert_eq!(encrypt(&host, &key, "db=B,volume=2"), 0);
    host.aws(&["create-key"]).expect_code(0);
    host.disable_key();
    assert_ne!(encrypt(&host, &key, "db=A,volume=3"), 0);

    let stored = fs::read_to_string(host.root().join("kms/audit.jsonl")).unwrap();
    let shown = audit(&host, &["--json"]);
    assert_eq!(shown, stored.lines().collect::<Vec<_>>());
    let all = event_names(&shown);
    assert_eq!(audit(&host, &[]).len(), all.len());

    let of_key = event_names(&audit(&host, &["--json", "--key", &key]));
    assert_eq!(all.iter().filter(|name| *name == "CreateKey").count(), 2);
    assert_eq!(of_key.iter().filter(|name| *name == "CreateKey").count(), 1);
    assert_eq!(of_key.len(), all.len() - 1);
    let by_alias = event_names(&audit(&host, &["--json", "--key", "alias/test", "--context", "db=A"]));
    assert_eq!(by_alias, ["Encrypt"]);
    assert_eq!(audit(&host, &["--key", "alias/other"]), Vec::<String>::new());

    let lines = audit(&host, &["--context", "db=A"]);
    assert_eq!(lines.len(), 2);
    for part in ["Z  Encrypt ", "  envol-admin  ", &key, "  db=A  volume=1  ok"] {
        assert!(lines[0].contains(part), "no {part:?} in {}", lines[0]);
    }
    assert!(lines[1].ends_with("  db=A  volume=3  DisabledException"), "{}", lines[1]);
    assert_eq!(audit(&host, &["--context", "db=A", "--context", "volume=3"]), lines[1..]);
    assert_eq!(audit(&host, &["--context", "db=B", "--context", "volume=3"]), Vec::<String>::new());
}

#[test]
fn without_a_kms_it_says_how_to_make_one_and_an_empty_log_prints_nothing() {
    let root = TempDir::new().unwrap();
    let envol =
        |arguments: &[&str]| ran(&Command::new(ENVOL).arg("--root").arg(root.path()).args(arguments).output().unwrap());
    for arguments in [&["kms", "audit"][..], &["kms", "audit", "--follow"]] {
        envol(arguments).expect_code(3).expect_stderr("envol kms init");
    }
    envol(&["kms", "init"]).expect_code(0);
    let empty = envol(&["kms", "audit"]).expect_code(0);
    assert_eq!((empty.stdout, empty.stderr), (String::new(), String::new()));
    envol(&["kms", "audit", "--context", "no pair"]).expect_code(2);
}

fn follow(host: &Host, arguments: &[&str]) -> Following {
    Following::start(audit_command(host, &["--follow"]).args(arguments))
}

#[test]
fn following_shows_what_is_there_and_what_comes_until_it_is_interrupted() {
    let host = Host::new();
    assert_eq!(encrypt(&host, "alias/test", "db=A"), 0);
    let following = follow(&host, &["--context", "db=A"]);
    following.expect("  db=A  ok");
    assert_eq!(encrypt(&host, "alias/test", "db=B"), 0);
    host.disable_key();
    assert_ne!(encrypt(&host, "alias/test", "db=A"), 0);
    // The next one of its own.
    let next = following.next();
    assert!(next.ends_with("  db=A  DisabledException"), "{next}");

    // A server that was killed and serves again goes on with the same log.
    host.stop_kms();
    host.start_kms();
    host.enable_key();
    assert_eq!(encrypt(&host, "alias/test", "db=A,again=1"), 0);
    following.expect("  again=1  db=A  ok");
    assert_eq!(following.interrupt(), (Some(0), String::new()));
}

#[test]
fn every_acknowledged_call_is_in_the_log_when_the_server_is_killed_around_a_rotation() {
    let host = Host::new();
    let kms = host.root().join("kms");
    let rotated = || {
        let names = fs::read_dir(&kms).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("audit-2")).count()
    };
    let mut requests = HashSet::new();
    let following = follow(&host, &["--json"]);

    for (round, lines_before_kill) in [20, 35, 50].into_iter().enumerate() {
        host.stop_kms();
        // Room for some more records, and for a torn line of the one that a crash kept from its end.
        let mut file = OpenOptions::new().append(true).open(kms.join("audit.jsonl")).unwrap();
        let filled = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let record = json!({ "eventName": "Filling", "filling": "x".repeat(MAX_FILE_LEN - filled - 5_000) });
        write!(file, "{record}\n{{\"torn").unwrap();
        host.start_kms();

        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kms_changes.py");
        let mut changing = host.command("python3");
        let mut changing = changing.args([script, "change"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(changing.stdout.take().unwrap()).lines().map(Result::unwrap);
        for (number, line) in lines.enumerate() {
            let change: Value = serde_json::from_str(&line).unwrap();
            requests.extend(change["request"].as_str().map(str::to_owned));
            if number == lines_before_kill {
                host.stop_kms();
            }
        }
        assert!(changing.wait().unwrap().success());
        assert_eq!(rotated(), round + 1);
    }

    // With the server gone, from all files; a killed one may have torn one line more.
    let output = audit_command(&host, &["--json"]).output().unwrap();
    let shown = ran(&output).expect_code(0).expect_stderr("no whole record").stdout;
    let ids: Vec<String> = shown.lines().filter_map(request_id).collect();
    let distinct: HashSet<_> = ids.iter().cloned().collect();
    assert_eq!(ids.len(), distinct.len(), "a record is in the log twice");
    assert!(requests.len() > 30, "{}", requests.len());
    assert!(requests.is_subset(&distinct), "lost: {:?}", requests.difference(&distinct));

    // Who followed all the while saw the same.
    for id in &ids {
        assert_eq!(request_id(&following.expect("requestID")).as_ref(), Some(id));
    }
    let (code, stderr) = following.interrupt();
    assert_eq!(code, Some(0), "{stderr}");

    // A reader who goes away is no failure, of a log far larger than a pipe holds.
    let mut leaving = audit_command(&host, &["--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(leaving.stdout.take());
    let left = ran(&leaving.wait_with_output().unwrap()).expect_code(0);
    assert_eq!(left.stderr, "");
}

fn request_id(line: &str) -> Option<String> {
    let record: Value = serde_json::from_str(line).unwrap();
    record["requestID"].as_str().map(str::to_owned)
}
