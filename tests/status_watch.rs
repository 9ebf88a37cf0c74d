//! `envol status --watch` on a terminal and without one, while a volume is busy, comes, goes and ends.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::{ENVOL, Host, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);

fn command(host: &Host, volume: &str, arguments: &[&str]) -> Command {
    let mut command = host.command(ENVOL);
    command.arg("--root").arg(host.root()).args(["status", volume, "--watch"]).args(arguments);
    command
}

/// A watch on a terminal of its own.
struct Watched {
    child: Child,
    ours: OwnedFd,
    theirs: File,
    /// All that it wrote.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Watched {
    fn start(host: &Host, volume: &str, (columns, rows): (u16, u16), environment: &[(&str, &str)]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        tcsetwinsize(&theirs, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        // A session of its own whose terminal this is, so that keys become signals.
        let mut command = Command::new("setsid");
        command.args(["--ctty", ENVOL, "--root"]).arg(host.root()).args(["status", volume, "--watch"]);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(environment.iter().copied());
        command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap()).stderr(Stdio::null());
        let child = command.spawn().expect("setsid");
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let (mut reader, all) = (File::from(ours.try_clone().unwrap()), Arc::clone(&written));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut piece) {
                all.lock().unwrap().extend(&piece[..len]);
            }
        });
        Self { child, ours, theirs, written }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// The last screen that was drawn as a whole, without colours, line by line.
    fn screen(&self) -> Vec<String> {
        let text = self.text();
        let frames: Vec<&str> = text.split("\x1b[H").collect();
        let whole = frames.iter().rev().find(|frame| frame.contains("\x1b[J"));
        let frame = whole.map_or("", |frame| frame.split("\x1b[J").next().unwrap());
        frame.split("\r\n").map(|line| plain(line).trim_end().to_owned()).collect()
    }

    #[track_caller]
    fn shows(&self, what: &str, shown: impl Fn(&[String]) -> bool) {
        let until = Instant::now() + DEADLINE;
        while !shown(&self.screen()) {
            assert!(Instant::now() < until, "{what} was not shown within {DEADLINE:?}: {:#?}", self.screen());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn type_key(&self, key: u8) {
        rustix::io::write(&self.ours, &[key]).unwrap();
    }

    #[track_caller]
    fn ends(&mut self) {
        let mut status = None;
        wait_until("the end of the watch", DEADLINE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.unwrap().code(), Some(0));
        wait_until("the first screen", DEADLINE, || self.text().ends_with("\x1b[?1049l"));
        assert!(self.text().contains("\x1b[?25h"), "the cursor is shown again");
        let modes = tcgetattr(&self.theirs).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON), "the keyboard is as it was");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Without control sequences, of which colours and the clearing of a line are all there are within a line.
fn plain(line: &str) -> String {
    let mut parts = line.split("\x1b[");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text += part.split_once(['m', 'K']).map_or("", |(_, rest)| rest);
    }
    text
}

/// A row of the table: requests a second.
fn requests(screen: &[String], kind: &str) -> Option<f64> {
    let row = screen.iter().find(|line| line.starts_with(kind))?;
    row.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_terminal_shows_what_goes_on_and_is_left_as_it_was() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "500ms"]).expect_code(0);
    let mut watched = Watched::start(&host, &volume, (80, 24), &[]);
    watched.shows("a volume at rest", |screen| {
        ["read", "write", "sync", "discard"].iter().all(|kind| requests(screen, kind) == Some(0.0))
    });
    let modes = tcgetattr(&watched.theirs).unwrap().local_modes;
    assert!(!modes.contains(LocalModes::ECHO), "what is typed is not shown meanwhile");
    let screen = watched.screen();
    assert!(screen[0].contains(&volume) && screen[0].contains("db-TEST"), "{screen:#?}");
    let text = screen.join("\n");
    for part in ["in-use since", "verified", "ok ", "16MiB", "snapshot", "none", "errors"] {
        assert!(text.contains(part), "no {part:?} in {screen:#?}");
    }
    assert!(watched.text().contains("\x1b[32m"), "a terminal has colours");

    let image = File::options().read(true).write(true).open(host.image(&volume)).unwrap();
    let mut at = 0;
    let until = Instant::now() + DEADLINE;
    let busy = loop {
        let screen = watched.screen();
        let is_busy = |kind| requests(&screen, kind).is_some_and(|rate| rate > 0.0);
        if is_busy("write") && is_busy("sync") {
            break screen;
        }
        assert!(Instant::now() < until, "no I/O is shown: {screen:#?}");
        image.write_all_at(&[1; 4096], at % (1 << 20)).unwrap();
        image.sync_data().unwrap();
        at += 4096;
    };
    assert!(busy.iter().any(|line| line.contains('█')), "no sparkline: {busy:#?}");
    assert!(busy.iter().find(|line| line.starts_with("write")).unwrap().contains('<'), "no latency: {busy:#?}");
    assert!(busy.len() <= 24 && busy.iter().all(|line| line.chars().count() <= 80), "{busy:#?}");

    watched.shows("rest again", |screen| requests(screen, "write") == Some(0.0));
    // Ctrl-C, as the terminal makes a signal of it.
    watched.type_key(3);
    watched.ends();
}

#[test]
fn a_narrow_terminal_is_not_written_beyond_and_no_color_is_heeded() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let mut watched = Watched::start(&host, &volume, (40, 10), &[("NO_COLOR", "1")]);
    watched.shows("a volume that is not attached", |screen| screen.join("\n").contains("not attached"));
    let screen = watched.screen();
    assert!(screen.len() <= 10 && screen.iter().all(|line| line.chars().count() <= 40), "{screen:#?}");
    assert!(!watched.text().contains("\x1b[3") && !watched.text().contains("\x1b[0m"), "{:?}", watched.text());

    // The terminal grows.
    tcsetwinsize(&watched.theirs, Winsize { ws_row: 30, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    watched.shows("the wider terminal", |screen| screen[0].chars().count() == 160);
    watched.type_key(b'q');
    watched.ends();
}

#[test]
fn it_goes_on_through_attach_detach_and_the_end_of_the_volume() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let mut watched = Watched::start(&host, &volume, (80, 24), &[]);
    let has = |part: &'static str| move |screen: &[String]| screen.join("\n").contains(part);
    watched.shows("available", has("not attached"));
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "500ms"]).expect_code(0);
    watched.shows("attached", has("in-use since"));
    host.envol(&["detach", &volume]).expect_code(0);
    watched.shows("detached", has("not attached"));
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "500ms"]).expect_code(0);
    watched.shows("attached again", has("in-use since"));
    host.stop_kms();
    watched.shows("an outage", has("unverified for"));
    host.start_kms();
    watched.shows("its end", has("verified 0s ago"));
    host.disable_key();
    watched.shows("the end", has("terminal since"));
    watched.shows("the way back", has("allow the key again"));
    watched.type_key(b'q');
    watched.ends();
}

/// A watch whose stdout is a pipe.
struct Piped(Child, BufReader<ChildStdout>);

impl Piped {
    fn start(host: &Host, volume: &str, arguments: &[&str]) -> Self {
        let mut child = command(host, volume, arguments).stdout(Stdio::piped()).spawn().expect("envol runs");
        let out = BufReader::new(child.stdout.take().unwrap());
        Self(child, out)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_terminal_there_is_a_line_each_time_and_with_json_an_object() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let mut plain = Piped::start(&host, &volume, &[]);
    let first = plain.line();
    assert!(first.contains("in-use") && first.contains("key verified") && !first.contains('\x1b'), "{first}");
    assert!(plain.line().contains("read 0/s 0 MB/s"));
    kill_process(Pid::from_child(&plain.0), Signal::INT).unwrap();
    assert_eq!(plain.0.wait().unwrap().code(), Some(0));

    let mut json = Piped::start(&host, &volume, &["--json"]);
    let mut object = || serde_json::from_str::<Value>(&json.line()).expect("one object a line");
    assert!(object()["interval"].is_null(), "the first look has no interval");
    let idle = object();
    assert_eq!(idle["interval"]["write"]["requests_per_s"], 0.0, "{idle:#}");
    assert!(idle["interval"]["write"]["p99_us"].is_null());
    assert!((0.5..5.0).contains(&idle["interval"]["seconds"].as_f64().unwrap()), "{idle:#}");
    let image = File::options().write(true).open(host.image(&volume)).unwrap();
    (0..100).for_each(|index| image.write_all_at(&[1; 8192], index * 8192).unwrap());
    let until = Instant::now() + DEADLINE;
    let busy = loop {
        let object = object();
        if object["interval"]["write"]["requests_per_s"].as_f64().unwrap() > 0.0 {
            break object;
        }
        assert!(Instant::now() < until, "no I/O is shown");
    };
    let writes = &busy["interval"]["write"];
    let (requests, bytes) = (writes["requests_per_s"].as_f64().unwrap(), writes["bytes_per_s"].as_f64().unwrap());
    assert!((bytes / requests - 8192.0).abs() < 600.0, "{writes}");
    assert!(writes["p50_us"].as_f64().unwrap() > 0.0 && writes["max_us"].as_f64() >= writes["p99_us"].as_f64());
}

#[test]
fn who_reads_no_further_ends_it() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let mut watch = command(&host, &volume, &[]).stdout(Stdio::piped()).spawn().expect("envol runs");
    drop(watch.stdout.take());
    let mut status = None;
    wait_until("the end of the watch", DEADLINE, || {
        status = watch.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
    let mut nobody = command(&host, "vol-00000000000000000", &[]);
    assert_eq!(nobody.output().unwrap().status.code(), Some(3));
}
