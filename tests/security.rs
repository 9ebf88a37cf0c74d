//! What other users of the host, links, and exchanged directories get: nothing.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::snapshots::image;
use harness::{Host, ran};

const NOBODY: u32 = 65534;

/// Whether this command succeeds for a user without rights.
fn nobody_can(command: &[&str]) -> bool {
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).args(command);
    nobody.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

fn everything_in(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.clone());
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            everything_in(&path, found);
        }
    }
}

#[test]
fn other_users_get_nothing_of_a_volume() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    host.snapshot(&volume, &[]);
    let mut places = vec![PathBuf::from(format!("/run/envol/{volume}")), host.image(&volume)];
    places.push(format!("/run/envol/{volume}.sock").into());
    for folder in ["volumes", "snapshots", "kms", "aws"].map(|folder| host.root().join(folder)) {
        if folder.exists() {
            everything_in(&folder, &mut places);
            places.push(folder);
        }
    }
    assert!(
        places.iter().any(|place| place.ends_with("daemon.log"))
            && places.iter().any(|place| place.ends_with("events.jsonl"))
    );
    for place in &places {
        let place = place.to_str().unwrap();
        assert!(!nobody_can(&["test", "-r", place]) && !nobody_can(&["test", "-w", place]), "{place}");
    }
    let daemon = host.daemon_pid(&volume);
    for secret in ["environ", "mem", "maps", "fd"] {
        let place = format!("/proc/{daemon}/{secret}");
        // The mode of some says nothing: the kernel looks when they are opened.
        assert!(!nobody_can(&["grep", "-q", "", "-r", &place]), "{place}");
    }
    let socket = format!("/run/envol/{volume}.sock");
    let ask = format!("import socket; socket.socket(socket.AF_UNIX).connect({socket:?})");
    assert!(!nobody_can(&["python3", "-c", &ask]));
    // The controls.
    assert!(ran(&Command::new("python3").args(["-c", &ask]).output().unwrap()).code == 0);
    assert!(
        nobody_can(&["grep", "-q", "", "-r", "/proc/self/maps"])
            && nobody_can(&["test", "-x", host.root().to_str().unwrap()])
    );
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn secrets_are_in_no_argument_environment_or_file() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let dir = host.directory("mnt");
    host.envol(&["attach", &volume, dir.to_str().unwrap()]).expect_code(0);
    host.snapshot(&volume, &[]);
    // As its owner can have it.
    let ask = "import sys, decode_image as d\nkeys, derive = [], d.derive\n\
        d.derive = lambda key, info: (keys.append(key), derive(key, info))[1]\n\
        d.open_volume(open(sys.argv[1], 'rb'))\nprint(keys[0].hex())";
    let mut python = host.command("python3");
    let python = python.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")).args(["-B", "-c", ask]);
    let hex = ran(&python.arg(host.backing(&volume)).output().unwrap()).expect_code(0).stdout.trim().to_owned();
    let raw: Vec<u8> = (0..64).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    let mut encode = Command::new("base64");
    let mut encode = encode.arg("--wrap=0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    encode.stdin.take().unwrap().write_all(&raw).unwrap();
    let base64 = encode.wait_with_output().unwrap().stdout;
    let forms: [&[u8]; 3] = [&raw[..32], &hex.as_bytes()[..64], &base64[..40]];
    let holds = |content: &[u8]| forms.iter().any(|form| content.windows(form.len()).any(|window| window == *form));

    let daemon = host.daemon_pid(&volume);
    for process in [daemon, host.companion_pid(&volume)] {
        for file in ["cmdline", "environ"] {
            let content = fs::read(format!("/proc/{process}/{file}")).unwrap();
            assert!(!content.is_empty() && !holds(&content), "{file} of {process}");
        }
        assert_eq!(limit(process, "Max core file size"), "0", "no core");
    }
    let mut files = Vec::new();
    everything_in(&host.root().join("volumes"), &mut files);
    everything_in(&host.root().join("snapshots"), &mut files);
    for file in files.iter().filter(|file| fs::symlink_metadata(file).unwrap().is_file() && !file.ends_with("backing"))
    {
        assert!(!holds(&fs::read(file).unwrap()), "{}", file.display());
    }
    // The control.
    let planted = host.root().join("planted");
    fs::write(&planted, [b"key: ", &base64[..]].concat()).unwrap();
    assert!(holds(&fs::read(&planted).unwrap()) && holds(&raw) && holds(hex.as_bytes()));
    host.envol(&["detach", &volume]).expect_code(0);
}

/// The soft one.
fn limit(process: i32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn a_root_directory_that_others_may_change_is_refused() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let attach = ["attach", &volume, "--raw"];
    let change = |path: &Path, mode: u32, owner: u32| {
        chown(path, Some(owner), None).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for folder in ["", "volumes", &format!("volumes/{volume}")] {
        let path = host.root().join(folder);
        let before = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        change(&path, 0o777, 0);
        host.envol(&attach).expect_code(2).expect_stderr("chmod go-w");
        change(&path, before, NOBODY);
        host.envol(&attach).expect_code(2).expect_stderr("chown 0");
        change(&path, before, 0);
    }
    let volumes = host.root().join("volumes");
    change(&volumes, 0o777, 0);
    let create = ["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/test"];
    host.envol(&create).expect_code(2).expect_stderr("chmod go-w");
    change(&volumes, 0o700, 0);
    // The control.
    host.envol(&attach).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
}

#[test]
fn a_symbolic_link_in_the_root_directory_is_not_followed() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    let directory = host.root().join("volumes").join(&volume);
    let victim = host.root().join("victim");
    let attach = ["attach", &volume, "--raw"];
    host.envol(&attach).expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
    for name in ["events.jsonl", "daemon.log", "binding.new", "changes"] {
        fs::write(&victim, b"of somebody else").unwrap();
        let (path, kept) = (directory.join(name), directory.join("kept"));
        let _ = fs::rename(&path, &kept);
        symlink(&victim, &path).unwrap();
        if host.envol(&attach).code == 0 {
            host.envol(&["detach", &volume]);
        }
        assert_eq!(fs::read(&victim).unwrap(), b"of somebody else", "{name}");
        let _ = fs::remove_file(&path);
        let _ = fs::rename(&kept, &path);
    }
    // The volume's directory itself.
    let elsewhere = host.root().join("elsewhere");
    fs::rename(&directory, &elsewhere).unwrap();
    symlink(&elsewhere, &directory).unwrap();
    host.envol(&attach).expect_code(2).expect_stderr("symbolic link");
    fs::remove_file(&directory).unwrap();
    fs::rename(&elsewhere, &directory).unwrap();
    // The control.
    host.envol(&attach).expect_code(0);
    image(&host, &volume).read_exact_at(&mut [0; 512], 0).unwrap();
    host.envol(&["detach", &volume]).expect_code(0);
}

/// By whoever may rename what is above it, between the look at it and the mount.
#[test]
fn a_directory_that_is_exchanged_while_it_is_mounted_on_is_noticed() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let (dir, etc) = (host.directory("mnt"), host.directory("etc"));
    // A mount(8) that is led astray, in a mount namespace of its own.
    let (led, kept) = (host.root().join("mount"), host.root().join("mount.kept"));
    let script = "#!/bin/bash\nset -- \"${@/#DIR/ETC}\"\nexec KEPT \"$@\"\n";
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let script = script
        .replace("DIR", &text(&dir).replace('/', "\\/"))
        .replace("ETC", &text(&etc))
        .replace("KEPT", &text(&kept));
    fs::write(&led, script).unwrap();
    fs::set_permissions(&led, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy("/usr/bin/mount", &kept).unwrap();
    let attach = |prepare: &str| {
        let mut attach = host.command("unshare");
        attach.args(["--mount", "sh", "-ec", &format!("{prepare} exec \"$@\""), "sh", harness::ENVOL, "--root"]);
        ran(&attach.arg(host.root()).args(["attach", &volume]).arg(&dir).output().unwrap())
    };
    let astray = format!("mount --bind {} /usr/bin/mount;", led.display());
    attach(&astray).expect_code(9).expect_stderr("was exchanged");
    assert_eq!(host.status(&volume)["state"], "available");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(etc.to_str().unwrap()));
    // The control.
    attach("").expect_code(0);
    host.envol(&["detach", &volume]).expect_code(0);
}
