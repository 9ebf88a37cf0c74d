//! The daemon is stopped, killed, or both; the plaintext goes all the same.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::harness::{is_alive, signal, wait_until};
use super::scene::{GONE_DEADLINE, Process, Scene};

const OPENS: &str = "import sys, time\nfile = open(sys.argv[1], 'rb')\nprint('ready', flush=True)\ntime.sleep(1000)\n";

/// DESIGN: purged within five seconds by the companion.
const COMPANION_DEADLINE: Duration = Duration::from_secs(5);

#[test]
fn the_companion_takes_everything_away_when_the_daemon_is_killed() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    let mut reader = Process::python(OPENS, &[&file]);
    let killed = Instant::now();
    scene.host.kill_daemon(&scene.volume);
    wait_until("nothing left", COMPANION_DEADLINE, || scene.traces().is_empty());
    println!("gone after {:?}", killed.elapsed());
    assert!(!reader.0.wait().unwrap().success());
    scene.is_gone_without_trace();
    assert_eq!(scene.host.status(&scene.volume)["state"], "available", "nobody revoked anything");
    scene.host.envol(&["attach", &scene.volume, scene.dir.to_str().unwrap()]).expect_code(0);
    assert_eq!(fs::read(&file).unwrap().len(), 17 * 4096);
}

#[test]
fn a_companion_that_is_killed_is_replaced() {
    let scene = Scene::new();
    let first = scene.host.companion_pid(&scene.volume);
    signal(first, Signal::KILL);
    wait_until("its end", GONE_DEADLINE, || !is_alive(first));
    let companion = || {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", scene.daemon)).unwrap();
        children.split_whitespace().map(|child| child.parse::<i32>().unwrap()).find(|child| *child != first)
    };
    wait_until("another one", GONE_DEADLINE, || companion().is_some());
    scene.host.kill_daemon(&scene.volume);
    wait_until("nothing left", GONE_DEADLINE, || scene.traces().is_empty());
}

#[test]
fn a_daemon_that_was_stopped_asks_kms_before_it_serves_another_byte() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    signal(scene.daemon, Signal::STOP);
    scene.host.disable_key();
    // Longer than two probe intervals.
    std::thread::sleep(Duration::from_secs(3));
    let reads = "import mmap, os, sys\n\
        block = mmap.mmap(-1, 4096)\n\
        file = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n\
        print('ready', flush=True)\n\
        os.preadv(file, [block], 0)\n\
        os._exit(42)\n";
    let mut reader = Process::python(reads, &[&file]);
    signal(scene.daemon, Signal::CONT);
    scene.wait_for_the_end();
    assert_ne!(reader.0.wait().unwrap().code(), Some(42), "it was served after the stop");
    scene.is_gone_without_trace();
}

#[test]
fn a_daemon_that_was_stopped_serves_on_when_kms_says_yes() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    signal(scene.daemon, Signal::STOP);
    std::thread::sleep(Duration::from_secs(3));
    signal(scene.daemon, Signal::CONT);
    let direct = std::process::Command::new("dd")
        .arg(format!("if={}", file.display()))
        .args(["of=/dev/null", "bs=4096", "count=1", "iflag=direct", "status=none"])
        .status();
    assert!(direct.unwrap().success());
    wait_until("the word of it", GONE_DEADLINE, || scene.log().contains("did not run for"));
    assert_eq!(scene.host.status(&scene.volume)["state"], "in-use");
}

#[test]
fn a_daemon_that_is_stopped_and_killed_leaves_nothing() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    let mut reader = Process::python(OPENS, &[&file]);
    signal(scene.daemon, Signal::STOP);
    scene.host.disable_key();
    // Waits inside the kernel for an answer that never comes.
    let reads = "import mmap, os, sys\nfile = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n\
        print('ready', flush=True)\nos.preadv(file, [mmap.mmap(-1, 4096)], 0)\n";
    let hanging = Process::python(reads, &[&file]);
    let state = || fs::read_to_string(format!("/proc/{}/stat", hanging.pid())).unwrap_or_default();
    wait_until("a reader that hangs", GONE_DEADLINE, || state().contains(") D "));
    signal(scene.daemon, Signal::KILL);
    wait_until("nothing left", COMPANION_DEADLINE, || scene.traces().is_empty());
    assert!(!reader.0.wait().unwrap().success() && !hanging.is_alive());
    scene.is_gone_without_trace();
    // Nobody heard the no; the next one to ask does.
    scene.host.envol(&["attach", &scene.volume, scene.dir.to_str().unwrap()]).expect_code(4);
}

#[test]
fn a_daemon_that_is_killed_while_it_purges_leaves_nothing() {
    let scene = Scene::new();
    scene.cached_file("cached");
    // It takes the daemon a while to end this one.
    let mut reader = Process::python(super::processes::STUBBORN, &[&scene.dir]);
    scene.host.disable_key();
    let image = fs::File::open(scene.host.backing(&scene.volume)).unwrap();
    let terminal = || {
        let mut magic = [0; 5];
        std::os::unix::fs::FileExt::read_exact_at(&image, &mut magic, 256 << 10).unwrap();
        magic == *b"envol"
    };
    wait_until("the record", GONE_DEADLINE, terminal);
    assert!(is_alive(scene.daemon), "the control: it is at it");
    signal(scene.daemon, Signal::KILL);
    wait_until("nothing left", COMPANION_DEADLINE, || scene.traces().is_empty());
    assert!(!reader.0.wait().unwrap().success());
    scene.is_gone_without_trace();
    scene.host.envol(&["attach", &scene.volume, scene.dir.to_str().unwrap()]).expect_code(6);
}

#[test]
fn the_next_command_takes_away_what_both_left() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    let mut reader = Process::python(OPENS, &[&file]);
    scene.host.kill_daemon_and_companion(&scene.volume);
    assert!(!scene.traces().is_empty(), "the control: it is all still there");
    scene.host.envol(&["status", &scene.volume]).expect_code(0);
    assert!(!reader.0.wait().unwrap().success());
    scene.is_gone_without_trace();
}
