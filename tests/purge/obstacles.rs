//! What is in the way of a purge: frozen, stacked, mounted elsewhere, full, busy.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::harness::wait_until;
use super::scene::{GONE_DEADLINE, Process, Scene};

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

const WRITES: &str = "import os, sys, time\n\
    file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n\
    os.write(file, b'x' * 4096)\n\
    print('ready', flush=True)\n\
    while True: os.write(file, b'x' * 1048576)\n";

#[test]
fn a_frozen_file_system_is_thawed_and_its_writers_end() {
    for kind in ["ext4", "xfs"] {
        let scene = Scene::with(&[], &["--fs", kind]);
        let file = scene.cached_file("cached");
        run("fsfreeze", &["--freeze", scene.dir.to_str().unwrap()]);
        // Waits inside the kernel until it is thawed.
        let mut writer = Command::new("python3");
        let script = "import os, sys; file = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); os.fsync(file)";
        writer.args(["-c", script]).arg(scene.dir.join("new"));
        let mut writer = Process(writer.stderr(Stdio::null()).spawn().unwrap());
        let state = |pid: i32| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        wait_until("a writer that waits", GONE_DEADLINE, || state(writer.pid()).contains(") D "));
        scene.revoke();
        assert!(!writer.0.wait().unwrap().success(), "{kind}");
        assert!(fs::read(file).is_err());
        scene.is_gone_without_trace();
    }
}

#[test]
fn what_stands_on_the_volume_goes_with_it() {
    let scene = Scene::new();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (nested, image) = (scene.host.directory("nested"), scene.dir.join("image"));
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    run("mkfs.ext4", &["-q", &text(&image)]);
    run("mount", &["-o", "loop", &text(&image), &text(&nested)]);
    fs::write(nested.join("file"), "on a loop device on a file on the volume").unwrap();

    let merged = scene.host.directory("merged");
    for name in ["lower", "upper", "work"] {
        fs::create_dir(scene.dir.join(name)).unwrap();
    }
    fs::write(scene.dir.join("lower/file"), "beneath").unwrap();
    let layer = |name| text(&scene.dir.join(name));
    let options = format!("lowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
    run("mount", &["-t", "overlay", "overlay", "-o", &options, &text(&merged)]);
    assert_eq!(fs::read_to_string(merged.join("file")).unwrap(), "beneath");
    let reads =
        "import sys, time, mmap\nfile = open(sys.argv[1], 'rb')\nprint('ready', flush=True)\ntime.sleep(1000)\n";
    let mut readers =
        [Process::python(reads, &[&merged.join("file")]), Process::python(reads, &[&nested.join("file")])];

    scene.revoke();
    for reader in &mut readers {
        assert!(!reader.0.wait().unwrap().success());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&text(&merged)) && !mounts.contains(&text(&nested)), "{mounts}");
    scene.is_gone_without_trace();
}

#[test]
fn a_bind_mount_in_another_namespace_goes_and_its_process_stays() {
    let scene = Scene::new();
    fs::create_dir(scene.dir.join("sub")).unwrap();
    fs::write(scene.dir.join("sub/file"), "seen through the bind").unwrap();
    let place = scene.host.directory("bound");
    let script = format!(
        "mount --bind {}/sub {} && umount {} && cat {}/file >/dev/null && echo ready && exec sleep 1000",
        scene.dir.display(),
        place.display(),
        scene.dir.display(),
        place.display()
    );
    let service =
        Process::ready(Command::new("unshare").args(["--mount", "--propagation", "private", "sh", "-c", &script]));
    let table = || fs::read_to_string(format!("/proc/{}/mountinfo", service.pid())).unwrap();
    assert!(table().contains(place.to_str().unwrap()));
    scene.revoke();
    assert!(service.is_alive() && !table().contains(place.to_str().unwrap()));
    scene.is_gone_without_trace();
}

#[test]
fn an_image_that_is_mounted_in_a_second_place_goes_from_both() {
    let scene = Scene::with(&[], &["--raw"]);
    let place = scene.host.directory("bound");
    run("mount", &["--bind", &format!("/run/envol/{}", scene.volume), place.to_str().unwrap()]);
    assert!(place.join("image").exists());
    scene.revoke();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.to_str().unwrap()), "{mounts}");
    scene.is_gone_without_trace();
}

#[test]
fn writers_blocked_in_writeback_end() {
    let scene = Scene::new();
    let mut writers: Vec<Process> =
        (0..4).map(|number| Process::python(WRITES, &[&scene.dir.join(format!("file-{number}"))])).collect();
    let mut sync = Process(Command::new("sync").arg("--file-system").arg(&scene.dir).spawn().unwrap());
    scene.revoke();
    for writer in &mut writers {
        assert!(!writer.0.wait().unwrap().success());
    }
    let _ = sync.0.wait();
    scene.is_gone_without_trace();
}

#[test]
fn a_full_disk_does_not_hold_it_up() {
    let small = super::scene::small_disk(96 << 20);
    let backing = small.path().join("image");
    let scene = Scene::with(&["--backing", backing.to_str().unwrap()], &[]);
    let file = scene.cached_file("cached");
    // Until nothing is left: neither for the volume nor for whatever is written beside it.
    let filler = fs::File::create(small.path().join("filler")).unwrap();
    let full = loop {
        if let Err(error) = std::io::Write::write_all(&mut &filler, &[1; 1 << 16]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    scene.revoke();
    assert!(fs::read(file).is_err());
    scene.is_gone_without_trace();
    let attached = scene.host.envol(&["attach", &scene.volume, scene.dir.to_str().unwrap()]);
    attached.expect_code(6);
}

#[test]
fn kms_that_is_gone_right_after_its_no_does_not_hold_it_up() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    scene.host.disable_key();
    wait_until("terminal", GONE_DEADLINE, || scene.host.status(&scene.volume)["state"] == "terminal");
    scene.host.stop_kms();
    scene.wait_for_the_end();
    assert!(fs::read(file).is_err());
    scene.is_gone_without_trace();
}

#[test]
fn a_reader_that_waits_for_the_disk_does_not_hold_it_up() {
    let scene = Scene::new();
    let file = scene.cached_file("cached");
    let reads = "import mmap, os, sys\n\
        block = mmap.mmap(-1, 4096)\n\
        file = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n\
        os.preadv(file, [block], 0)\n\
        print('ready', flush=True)\n\
        while True: os.preadv(file, [block], 0)\n";
    let mut readers: Vec<Process> = (0..8).map(|_| Process::python(reads, &[&file])).collect();
    scene.revoke();
    for reader in &mut readers {
        assert!(!reader.0.wait().unwrap().success());
    }
    scene.is_gone_without_trace();
}
