//! What becomes of a volume is on record, and somebody is told.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use harness::following::Following;
use harness::{ENVOL, Host, wait_until};

const DEADLINE: Duration = Duration::from_secs(30);

fn log_of(host: &Host, volume: &str) -> PathBuf {
    host.root().join("volumes").join(volume).join("events.jsonl")
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn attach_and_detach_are_on_record_for_the_owner_alone() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let none = host.envol(&["events", &volume]).expect_code(0);
    assert_eq!((none.stdout, none.stderr), (String::new(), String::new()));
    host.envol(&["events", "vol-0"]).expect_code(3).expect_stderr("vol-0");

    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    let pid = host.daemon_pid(&volume);
    // It is there when the command is done.
    let stored = fs::read_to_string(log_of(&host, &volume)).unwrap();
    let attached = &json_lines(&stored)[0];
    for (field, value) in [("volume_id", volume.as_str()), ("event", "attached"), ("state", "in-use"), ("by", "daemon")]
    {
        assert_eq!(attached[field], value);
    }
    assert_eq!(attached["pid"], pid);
    assert!(attached["cause"].is_null() && attached.get("rds_status").is_none(), "{attached}");
    host.envol(&["detach", &volume]).expect_code(0);
    let stored = fs::read_to_string(log_of(&host, &volume)).unwrap();
    assert_eq!(names(&json_lines(&stored)), ["attached", "detached"]);
    assert_eq!(json_lines(&stored)[1]["state"], "available");
    assert_eq!(fs::metadata(log_of(&host, &volume)).unwrap().permissions().mode() & 0o777, 0o600);

    let shown = host.envol(&["events", &volume, "--json"]).expect_code(0).stdout;
    assert_eq!(shown, stored);
    let text = host.envol(&["events", &volume]).expect_code(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with(attached["at"].as_str().unwrap()), "{text}");
    assert!(lines[0].ends_with(&format!("is attached at {}", dir.display())), "{text}");
    assert!(lines[1].contains("  detached  "), "{text}");
}

#[test]
fn a_line_that_a_crash_cut_short_does_not_swallow_the_next() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let mut log = File::options().append(true).open(log_of(&host, &volume)).unwrap();
    log.write_all(br#"{"at":"2026-11-24T21:00:00.123Z","volume_id":"#).unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
    let shown = host.envol(&["events", &volume, "--json"]).expect_code(0).stdout;
    assert_eq!(names(&json_lines(&shown)), ["attached", "detached"]);
    assert_eq!(fs::read_to_string(log_of(&host, &volume)).unwrap().lines().count(), 3);
}

#[test]
fn a_program_gets_each_event_on_its_stdin_and_in_its_environment() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let (told, environment) = (host.root().join("told"), host.root().join("environment"));
    let hook = format!(
        "cat >> {told}; echo a word of the hook; \
         echo \"$ENVOL_EVENT $ENVOL_VOLUME_ID $ENVOL_STATE .$ENVOL_CAUSE.$ENVOL_RDS_STATUS. \
         $(cat /proc/$$/oom_score_adj)\" >> {environment}",
        told = told.display(),
        environment = environment.display(),
    );
    host.envol(&["attach", &volume, "--raw", "--on-event", &hook]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    let lines = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    wait_until("the second run of the hook", DEADLINE, || lines(&environment).lines().count() == 2);
    assert_eq!(lines(&told), lines(&log_of(&host, &volume)));
    // The daemon is the last that the kernel kills; its hook is not.
    let expected = [format!("attached {volume} in-use ..."), format!("detached {volume} available ...")];
    for (line, expected) in lines(&environment).lines().zip(expected) {
        let (words, oom_score_adj) = line.rsplit_once(' ').unwrap();
        assert_eq!(words, expected);
        assert_ne!(oom_score_adj, "-1000");
    }
    assert!(lines(&log_of(&host, &volume).with_file_name("daemon.log")).contains("a word of the hook"));
}

#[test]
fn a_webhook_is_posted_each_event() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events?of=db", listener.local_addr().unwrap());
    let (send, posts) = mpsc::channel();
    std::thread::spawn(move || listener.incoming().try_for_each(|stream| send.send(read_post(stream.unwrap()))));
    host.envol(&["attach", &volume, "--raw", "--on-event", &url]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    for stored in fs::read_to_string(log_of(&host, &volume)).unwrap().lines() {
        let (head, body) = posts.recv_timeout(DEADLINE).unwrap();
        assert!(head.starts_with("post /events?of=db http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
        assert_eq!(body, stored);
    }
}

/// One request, its head in lower case; answered with 204.
fn read_post(mut stream: std::net::TcpStream) -> (String, String) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    let head = head.to_ascii_lowercase();
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; len.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn a_hook_that_hangs_holds_up_neither_detach_nor_for_long_the_end_of_the_daemon() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let pid_file = host.root().join("hook.pid");
    let hook = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 300", pid_file.display());
    host.envol(&["attach", &volume, "--raw", "--on-event", &hook]).expect_code(0);
    wait_until("the run of the hook", DEADLINE, || pid_file.exists());
    let hook = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let [daemon, hook] = [host.daemon_pid(&volume), hook]
        .map(|pid| pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap());

    let begun = Instant::now();
    host.envol(&["detach", &volume]).expect_code(0);
    // The daemon may wait for the hook, and whoever detached attaches again meanwhile.
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    for ended in [&daemon, &hook] {
        let left = Duration::from_secs(9).saturating_sub(begun.elapsed());
        let mut polled = [PollFd::new(ended, PollFlags::IN)];
        let ends = poll(&mut polled, Some(&Timespec::try_from(left).unwrap())).unwrap();
        assert_eq!(ends, 1, "still there {:?} after the detach", begun.elapsed());
    }
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn a_hook_that_makes_no_sense_is_refused() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    for hook in ["http://", ""] {
        host.envol(&["attach", &volume, "--raw", "--on-event", hook]).expect_code(2).expect_stderr("--on-event");
    }
    assert_eq!(host.status(&volume)["state"], "available");
    // One that fails is no reason not to serve.
    host.envol(&["attach", &volume, "--raw", "--on-event", "exit 7"]).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    let log = || fs::read_to_string(log_of(&host, &volume).with_file_name("daemon.log")).unwrap();
    wait_until("the warning", DEADLINE, || log().contains("the hook failed at detached"));
}

#[test]
fn events_are_logged_by_default_and_nothing_else_of_that_level() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let mut command = host.command(ENVOL);
    command.arg("--root").arg(host.root()).args(["attach", &volume, "--raw", "--foreground"]).env_remove("RUST_LOG");
    let mut daemon = command.stderr(Stdio::piped()).spawn().unwrap();
    let served = || log_of(&host, &volume).exists() && host.status(&volume)["state"] == "in-use";
    wait_until("the attach", DEADLINE, served);
    host.envol(&["detach", &volume]).expect_code(0);
    let mut log = String::new();
    daemon.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert!(log.contains("is attached") && log.contains("is detached") && log.contains(&volume), "{log}");
    assert!(!log.contains("asking KMS"), "{log}");
}

#[test]
fn following_shows_what_is_there_and_what_comes_until_it_is_interrupted() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let follow = || {
        let mut command = host.command(ENVOL);
        Following::start(command.arg("--root").arg(host.root()).args(["events", &volume, "--follow"]))
    };
    let next_is = |following: &Following, part: &str| {
        let line = following.next();
        assert!(line.contains(part), "{line}");
    };
    let from_the_start = follow();
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    next_is(&from_the_start, "  attached  ");
    let later = follow();
    next_is(&later, "  attached  ");
    host.envol(&["detach", &volume]).expect_code(0);
    next_is(&from_the_start, "  detached  ");
    next_is(&later, "  detached  ");

    assert_eq!(later.interrupt(), (Some(0), String::new()));
}
