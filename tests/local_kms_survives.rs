//! What the local KMS acknowledged is there after a crash, and it keeps to itself: signed requests only, loopback only,
//! nothing on stdout but what was asked for.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod harness;

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use harness::{ENVOL, Host, Ran, free_address, ran};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kms_changes.py");

/// How many lines `kms_changes.py` prints before each kill; chosen so that it falls on other operations each time.
const LINES_BEFORE_KILL: [usize; 6] = [50, 101, 203, 307, 160, 33];

fn python(host: &Host, arguments: &[&str]) -> Command {
    let mut command = host.command("python3");
    command.arg(SCRIPT).args(arguments);
    command
}

#[test]
fn every_acknowledged_change_survives_kill_9() {
    let host = Host::new();
    let journal_path = host.root().join("changes.jsonl");
    let mut journal = fs::File::create(&journal_path).unwrap();
    let check = || {
        let output = python(&host, &["check", journal_path.to_str().unwrap()]).output().expect("python3");
        ran(&output)
    };

    for lines_before_kill in LINES_BEFORE_KILL {
        let mut changing = python(&host, &["change"]).stdout(Stdio::piped()).spawn().expect("python3 is not installed");
        let lines = BufReader::new(changing.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut seen = 0;
        for line in lines {
            writeln!(journal, "{line}").unwrap();
            seen += 1;
            if seen == lines_before_kill {
                host.stop_kms();
            }
        }
        assert!(changing.wait().unwrap().success(), "kms_changes.py failed before the KMS was gone");
        assert!(seen >= lines_before_kill, "it ended after {seen} lines");
        host.start_kms();
        check().expect_code(0);
    }

    let changes = json_lines(&journal_path);
    let recorded: HashSet<Value> =
        json_lines(&host.root().join("kms/audit.jsonl")).iter().map(|record| record["requestID"].clone()).collect();
    for change in changes.iter().filter(|change| change["request"].is_string()) {
        assert!(recorded.contains(&change["request"]), "no audit record of {change}");
    }

    // The check sees a loss: of a key, of an alias, of a state.
    let key = &changes[0]["thing"];
    let missing_key = json!("11111111-2222-3333-4444-555555555555");
    let missing_alias = json!("alias/lost");
    for (thing, value) in [(&missing_key, &json!("Enabled")), (&missing_alias, key), (key, &json!("PendingImport"))] {
        let lost = json!({ "thing": thing, "value": value, "acknowledged": true });
        fs::write(&journal_path, format!("{lost}\n")).unwrap();
        check().expect_code(1).expect_stderr("AssertionError");
    }
}

/// Each line must be whole.
#[track_caller]
fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn a_wrong_secret_key_is_refused() {
    let host = Host::new();
    let variable = |wanted| host.environment().iter().find(|(name, _)| name == wanted).unwrap().1.clone();
    let credentials = fs::read_to_string(variable("AWS_SHARED_CREDENTIALS_FILE")).unwrap();
    let list_keys_with = |credentials: &str| -> Ran {
        let path = host.root().join("credentials");
        fs::write(&path, credentials).unwrap();
        let mut command = host.command("aws");
        command.env("AWS_SHARED_CREDENTIALS_FILE", &path).args(["kms", "list-keys"]);
        ran(&command.output().unwrap())
    };
    list_keys_with(&credentials).expect_code(0);

    let reversed = |line: &str| match line.split_once('=') {
        Some((name, secret)) if name.trim() == "aws_secret_access_key" => {
            format!("{name}= {}", secret.trim().chars().rev().collect::<String>())
        }
        _ => line.to_owned(),
    };
    let wrong = credentials.lines().map(reversed).collect::<Vec<_>>().join("\n");
    let refused = list_keys_with(&wrong);
    // 255 from version 1 of the AWS CLI, 254 from version 2.
    assert!([254, 255].contains(&refused.code), "{refused:?}");
    assert_eq!(refused.stdout, "");
    refused.expect_stderr("InvalidSignatureException");
}

/// An `envol kms serve` of its own, ended when dropped.
struct Serving {
    process: Child,
    stderr: BufReader<ChildStderr>,
}

impl Serving {
    /// Returns when it listens.
    fn start(root: &Path, arguments: &[&str]) -> Self {
        let mut command = envol(root, &["kms", "serve"]);
        let mut process =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("envol kms serve");
        let mut serving = Self { stderr: BufReader::new(process.stderr.take().unwrap()), process };
        let mut line = String::new();
        while !line.contains("listens on") {
            line.clear();
            assert!(serving.stderr.read_line(&mut line).unwrap() > 0, "it ended before it listened");
        }
        serving
    }

    /// Asks it to end; how it ended, and what it printed on stdout.
    fn stop(mut self) -> (ExitStatus, String) {
        let pid = Pid::from_child(&self.process);
        kill_process(pid, Signal::TERM).unwrap();
        let mut stdout = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        (self.process.wait().unwrap(), stdout)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn envol(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(ENVOL);
    command.arg("--root").arg(root).args(arguments);
    command
}

fn run(mut command: Command) -> Ran {
    ran(&command.output().unwrap())
}

#[test]
fn serve_takes_an_address_that_others_can_reach_only_when_told_to() {
    let root = TempDir::new().unwrap();
    run(envol(root.path(), &["kms", "init"])).expect_code(0);
    run(envol(root.path(), &["kms", "serve", "--listen", "0.0.0.0:0"])).expect_code(2).expect_stderr("--allow-remote");
    Serving::start(root.path(), &["--listen", "0.0.0.0:0", "--allow-remote"]);
    Serving::start(root.path(), &["--listen", "127.0.0.1:0"]);
}

#[test]
fn what_keeps_the_kms_from_serving_is_said() {
    let root = TempDir::new().unwrap();
    let serve = |arguments: &[&str]| run(envol(root.path(), &[&["kms", "serve"], arguments].concat()));
    serve(&[]).expect_code(3).expect_stderr("kms init");
    run(envol(root.path(), &["kms", "init", "--region", "No Region"])).expect_code(2).expect_stderr("'No Region'");
    run(envol(root.path(), &["kms", "init"])).expect_code(0);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_text = taken.local_addr().unwrap().to_string();
    serve(&["--listen", &taken_text]).expect_code(8).expect_stderr("Address already in use");
    let _serving = Serving::start(root.path(), &["--listen", "127.0.0.1:0"]);
    serve(&["--listen", "127.0.0.1:0"]).expect_code(8).expect_stderr("in use by another process");
}

#[test]
fn serve_prints_nothing_on_stdout() {
    let root = TempDir::new().unwrap();
    let listen = free_address().to_string();
    let init = run(envol(root.path(), &["kms", "init", "--listen", &listen])).expect_code(0);
    let serving = Serving::start(root.path(), &[]);
    let mut shell = Command::new("sh");
    // As a person would use it; the answer shows that the lines are right and that a call was served.
    shell.env_clear().envs(std::env::vars().filter(|(name, _)| !name.starts_with("AWS_")));
    shell.args(["-c", &format!("{}\naws kms create-key", init.stdout)]);
    run(shell).expect_code(0);
    let (status, stdout) = serving.stop();
    assert_eq!((status.code(), stdout.as_str()), (Some(0), ""));
}

#[test]
fn init_prints_only_export_lines_and_changes_no_credentials() {
    let root = TempDir::new().unwrap();
    let listen = free_address().to_string();
    let first = run(envol(root.path(), &["kms", "init", "--listen", &listen])).expect_code(0).stdout;
    assert!(!first.is_empty() && first.lines().all(|line| line.starts_with("export AWS_")), "{first}");

    let secrets = || {
        let kms = root.path().join("kms");
        ["aws/credentials", "aws/config", "root.key", "state.redb"].map(|name| fs::read(kms.join(name)).expect(name))
    };
    let before = secrets();
    assert_eq!(run(envol(root.path(), &["kms", "init"])).expect_code(0).stdout, first);
    assert!(secrets() == before);

    // Also while it serves.
    let _serving = Serving::start(root.path(), &[]);
    assert_eq!(run(envol(root.path(), &["kms", "init"])).expect_code(0).stdout, first);
    assert!(secrets()[..3] == before[..3]);

    // Another directory gets secrets of its own.
    let other = TempDir::new().unwrap();
    run(envol(other.path(), &["kms", "init"])).expect_code(0);
    assert!(fs::read(other.path().join("kms/aws/credentials")).unwrap() != before[0]);
}
