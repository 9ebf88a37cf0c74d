//! Whoever holds a copy of a page is ended; whoever merely sees the mount is not.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::harness::wait_until;
use super::scene::{GONE_DEADLINE, Process, Scene};

const MAPS: &str = "import mmap, sys, time\n\
    file = open(sys.argv[1], 'r+b')\n\
    page = mmap.mmap(file.fileno(), 0)\n\
    assert page[:2] == b'in'\n\
    file.close()\n\
    print('ready', flush=True)\n\
    while True: time.sleep(0.05); page[:2]\n";

pub(crate) const STUBBORN: &str = "import signal, sys, time, os\n\
    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
    os.chdir(sys.argv[1])\n\
    print('ready', flush=True)\n\
    while True: time.sleep(1000)\n";

/// The mount, in a namespace of its own that nothing propagates to.
fn bystander(dir: &Path) -> Process {
    let script = format!("grep -q ' {} ' /proc/self/mountinfo && echo ready && exec sleep 1000", dir.display());
    Process::ready(Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]))
}

fn sees(process: &Process, dir: &Path) -> bool {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", process.pid())).unwrap();
    table.contains(dir.to_str().unwrap())
}

#[test]
fn a_process_that_has_mapped_a_file_is_ended_and_one_that_only_sees_the_mount_is_not() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    let holders = [Process::python(MAPS, &[&file]), Process::python(STUBBORN, &[&scene.dir])];
    let bystander = bystander(&scene.dir);
    assert!(holders.iter().all(Process::is_alive) && sees(&bystander, &scene.dir));

    scene.revoke();
    for mut holder in holders {
        assert!(!holder.0.wait().unwrap().success());
    }
    assert!(bystander.is_alive() && !sees(&bystander, &scene.dir));
    assert!(fs::read(&file).is_err());
    scene.is_gone_without_trace();
}

#[test]
fn a_kept_process_is_reported_as_holding_plaintext() {
    let scene = Scene::with(&[], &["--keep-processes"]);
    let file = scene.cached_file("cached");
    let mut holder = Process::python(MAPS, &[&file]);
    scene.revoke();
    assert!(holder.is_alive());
    let reported = format!("python3 (pid {}) holds plaintext: an open file, a mapped file", holder.pid());
    assert!(scene.log().contains(&reported), "{}", scene.log());
    assert!(fs::read(&file).is_err());

    // Its mapping keeps the file system, and the next command says so until it is gone.
    let listed = scene.host.json(&["status", &scene.volume]);
    assert_eq!(listed["state"], "terminal");
    let _ = holder.0.kill();
    let _ = holder.0.wait();
    wait_until("nothing left", GONE_DEADLINE, || scene.traces().is_empty());
}

#[test]
fn who_has_the_image_open_is_ended_too() {
    let scene = Scene::with(&[], &["--raw"]);
    let image = scene.host.image(&scene.volume);
    let open = "import sys, time\nfile = open(sys.argv[1], 'r+b')\nprint('ready', flush=True)\ntime.sleep(1000)\n";
    let mut user = Process::python(open, &[&image]);
    scene.revoke();
    assert!(!user.0.wait().unwrap().success());
    scene.is_gone_without_trace();
}
