//! Programs and a webhook that answer, fail and hang.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use super::super::event::{EventKind, VolumeState};
use super::*;

const LONG: Duration = Duration::from_secs(60);

fn event(message: &str) -> Event {
    Event::new("vol-1".parse().unwrap(), EventKind::Terminal, VolumeState::Terminal, message).cause("key-disabled")
}

fn hook(text: &str) -> Hook {
    Hook::start(text.parse().unwrap()).unwrap()
}

fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_no_url_is_a_command_and_what_is_neither_is_refused() {
    let parse = |text: &str| text.parse::<HookTarget>();
    assert_eq!(parse("mail -s x"), Ok(HookTarget::Program("mail -s x".to_owned())));
    assert_eq!(parse("ftp://x"), Ok(HookTarget::Program("ftp://x".to_owned())));
    assert!(matches!(parse("https://h/x?y"), Ok(HookTarget::Webhook(_))));
    assert!(matches!(parse("http://"), Err(InvalidHook::Url(_))));
    assert_eq!(parse(" "), Err(InvalidHook::Empty));
}

#[test]
fn a_program_gets_each_event_in_order_also_after_one_that_failed() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let hook = hook(&format!(
        "cat >> {out}; echo \"$ENVOL_EVENT $ENVOL_VOLUME_ID $ENVOL_STATE $ENVOL_CAUSE \
         $ENVOL_RDS_STATUS\" >> {out}.environment; exit 3",
        out = out.display()
    ));
    let events = [event("one"), event("two"), event(&"x".repeat(200_000))];
    events.iter().for_each(|event| hook.tell(event));
    hook.finish(LONG);
    assert_eq!(json_lines(&out), events.map(|event| serde_json::to_value(event).unwrap()));
    let environment = fs::read_to_string(out.with_extension("environment")).unwrap();
    let expected = "terminal vol-1 terminal key-disabled inaccessible-encryption-credentials";
    assert_eq!(environment.lines().collect::<Vec<_>>(), [expected; 3]);
    // Told after the end: nothing, and no panic.
    hook.tell(&event("late"));
}

#[test]
fn a_program_that_takes_too_long_is_ended() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let run = |command, deadline| runtime.block_on(program::run(command, &event("one"), deadline));
    assert_eq!(run("read -r line; sleep 0.01", LONG), Ok(()));
    let begun = Instant::now();
    let problem = run("sleep 300", Duration::from_millis(100)).unwrap_err();
    assert!(problem.contains("killed after 100ms"), "{problem}");
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
}

#[test]
fn a_program_that_hangs_is_ended_with_its_children_at_the_deadline_of_the_end() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let hook = hook(&format!("sleep 300 & echo $! >> {0}; echo $$ >> {0}; wait", out.display()));
    for _ in 0..2 * QUEUE_LEN {
        hook.tell(&event("one"));
    }
    let until = Instant::now() + LONG;
    let pids = || -> Vec<String> { fs::read_to_string(&out).unwrap_or_default().lines().map(str::to_owned).collect() };
    while pids().len() < 2 {
        assert!(Instant::now() < until, "it was not run");
        thread::yield_now();
    }
    let begun = Instant::now();
    hook.finish(Duration::from_millis(100));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for pid in pids() {
        // A zombie is gone as well: only its number is still there.
        let is_gone = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        while !is_gone() {
            assert!(Instant::now() < until, "{pid} is still there");
            thread::yield_now();
        }
    }
    assert_eq!(pids().len(), 2, "no further event is told");
}

/// Answers each request with the next status; what was asked.
fn webhook(statuses: &'static [u16]) -> (String, thread::JoinHandle<Vec<(String, Value)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/secret?token=t", listener.local_addr().unwrap());
    let server = thread::spawn(move || statuses.iter().map(|status| answer(&listener, *status)).collect());
    (url, server)
}

fn answer(listener: &TcpListener, status: u16) -> (String, Value) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0);
    }
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; len.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status} Told\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_webhook_is_posted_each_event_and_tried_once_more_after_a_failure() {
    let (url, server) = webhook(&[200, 500, 204, 302, 404, 200]);
    let hook = hook(&url);
    for message in ["one", "two", "lost", "four"] {
        hook.tell(&event(message));
    }
    hook.finish(LONG);
    let asked = server.join().unwrap();
    let messages: Vec<&str> = asked.iter().map(|(_, event)| event["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["one", "two", "two", "lost", "lost", "four"]);
    let head = &asked[0].0;
    assert!(head.starts_with("POST /secret?token=t HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert_eq!(asked[0].1["rds_status"], "inaccessible-encryption-credentials");
}

#[test]
fn a_webhook_that_nobody_serves_is_given_up() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", unused.local_addr().unwrap());
    drop(unused);
    let hook = hook(&url);
    hook.tell(&event("one"));
    let begun = Instant::now();
    hook.finish(LONG);
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
}
