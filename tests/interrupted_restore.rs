//! A restore that was cut short names its volume and both ways: the same command goes on, `envol delete` takes it away, with
//! its grant and the image that was made for it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use harness::snapshots::{content, noise, objects, write};
use harness::{ENVOL, Host, ran, wait_until};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";
const DEADLINE: Duration = Duration::from_secs(30);

/// A snapshot, of more than one pack.
struct Scene {
    host: Host,
    volume: String,
    snapshot: String,
    last_pack: PathBuf,
    moment: Vec<(u64, u64)>,
}

impl Scene {
    fn new() -> Self {
        Self::of(40)
    }

    fn of(mib: u64) -> Self {
        let host = Host::new();
        let volume = host.create(&["--size", &format!("{}MiB", mib + 24)]);
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        for at in (0..mib).step_by(40) {
            write(&host, &volume, at * MIB, &noise(at, 40 << 20));
        }
        let moment = content(&host.image(&volume));
        let snapshot = host.snapshot(&volume, &[])["snapshot_id"].as_str().unwrap().to_owned();
        let (last_pack, _) = objects(&host.store().join("packs")).pop().unwrap();
        Self { host, volume, snapshot, last_pack, moment }
    }

    fn aside(&self) -> PathBuf {
        self.host.root().join("aside")
    }

    /// Reading the last pack fails, as a disk may.
    fn break_store(&self) {
        fs::rename(&self.last_pack, self.aside()).unwrap();
        std::os::unix::fs::symlink(&self.last_pack, &self.last_pack).unwrap();
    }

    /// Whoever reads the last pack waits.
    fn stall_store(&self) {
        fs::rename(&self.last_pack, self.aside()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&self.last_pack).status().unwrap();
        assert!(made.success());
    }

    fn mend_store(&self) {
        fs::rename(self.aside(), &self.last_pack).unwrap();
    }

    fn start(&self, more: &[&str]) -> Child {
        let mut command = self.host.command(ENVOL);
        command.arg("--root").arg(self.host.root());
        command.args(["create", "--snapshot", &self.snapshot, "--db-id", "db-RESTORED", "--kms-key", "alias/test"]);
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The id by which it is called on stderr.
    fn named_in(stderr: &str) -> String {
        let (_, rest) = stderr.split_once("`envol delete ").expect(stderr);
        assert!(stderr.contains("the same command goes on"), "{stderr}");
        rest.split_once('`').unwrap().0.to_owned()
    }

    fn listed(&self) -> usize {
        self.host.json(&["list"])["volumes"].as_array().unwrap().len()
    }

    fn grants(&self) -> usize {
        let listed =
            self.host.aws(&["list-grants", "--key-id", &self.host.key_id(), "--output", "json"]).expect_code(0);
        serde_json::from_str::<Value>(&listed.stdout).unwrap()["Grants"].as_array().unwrap().len()
    }

    fn staging(&self, id: &str) -> PathBuf {
        self.host.root().join("volumes").join(format!(".restoring-{id}"))
    }
}

#[test]
fn the_same_command_goes_on_under_the_id_that_was_named() {
    let scene = Scene::new();
    let host = &scene.host;
    scene.break_store();
    let id = Scene::named_in(&host.try_restore(&scene.snapshot, &[]).expect_code(1).stderr);
    assert!(scene.staging(&id).exists());
    assert_eq!(scene.listed(), 1);
    host.envol(&["attach", &id, "--raw"]).expect_code(3);
    // Other words are another volume, unless they ask for that very id.
    host.try_restore(&scene.snapshot, &["--size", "96MiB", "--id", &id])
        .expect_code(2)
        .expect_stderr(&scene.snapshot)
        .expect_stderr(&format!("envol delete {id}"));
    scene.mend_store();
    let other = host.restore(&scene.snapshot, &["--size", "96MiB"]);
    assert_ne!(other, id);
    assert!(scene.staging(&id).exists());

    assert_eq!(host.restore(&scene.snapshot, &[]), id);
    assert!(!scene.staging(&id).exists());
    host.envol(&["attach", &id, "--raw"]).expect_code(0);
    assert!(content(&host.image(&id)) == scene.moment);
    // The control: nothing is left to go on with.
    assert_ne!(host.restore(&scene.snapshot, &[]), id);
}

#[test]
fn delete_removes_it_with_its_grant_and_the_image_that_was_made_for_it() {
    let scene = Scene::new();
    let host = &scene.host;
    let image = host.root().join("image");
    let more = ["--grantee", GRANTEE, "--kms-profile", "envol-volume", "--backing", image.to_str().unwrap()];
    scene.break_store();
    let id = Scene::named_in(&host.try_restore(&scene.snapshot, &more).expect_code(1).stderr);
    assert!(scene.staging(&id).exists() && image.exists());
    assert_eq!(scene.grants(), 1);
    // Whatever is there of it is in the way of another volume, and the message says of which.
    host.try_restore(&scene.snapshot, &["--backing", image.to_str().unwrap()]).expect_code(8).expect_stderr(&id);

    host.envol(&["delete", "vol-other", "--yes"]).expect_code(3);
    host.envol(&["delete", &id]).expect_code(2);
    assert!(scene.staging(&id).exists() && image.exists());
    let mut delete = host.command(ENVOL);
    // The grantee may retire its grant.
    delete.env("AWS_PROFILE", "envol-volume").arg("--root").arg(host.root()).args(["delete", &id, "--yes"]);
    let deleted = ran(&delete.output().unwrap()).expect_code(0);
    assert!(!deleted.stderr.contains("revoke-grant"), "{}", deleted.stderr);
    assert!(!scene.staging(&id).exists() && !image.exists());
    assert_eq!(scene.grants(), 0);
    host.envol(&["delete", &id, "--yes"]).expect_code(3);
    assert_eq!(host.volume_directories(), std::slice::from_ref(&scene.volume));

    scene.mend_store();
    assert_ne!(host.restore(&scene.snapshot, &more), id);
}

#[test]
fn one_that_goes_on_is_not_deleted_and_one_that_was_killed_is() {
    let scene = Scene::new();
    let host = &scene.host;
    scene.stall_store();
    let mut restoring = scene.start(&[]);
    let mut stderr = BufReader::new(restoring.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let id = Scene::named_in(&line);
    host.envol(&["delete", &id, "--yes"]).expect_code(8).expect_stderr("by another command");
    assert!(scene.staging(&id).exists());
    // Nor is it what another command of the same words goes on with.
    let mut beside = scene.start(&[]);
    let mut line = String::new();
    BufReader::new(beside.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let other = Scene::named_in(&line);
    assert_ne!(other, id);
    for child in [&mut restoring, &mut beside] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    host.envol(&["delete", &id, "--yes"]).expect_code(0);
    assert_eq!(host.volume_directories(), [format!(".restoring-{other}"), scene.volume.clone()]);
    scene.mend_store();
    assert_eq!(host.restore(&scene.snapshot, &[]), other);
}

#[test]
fn whoever_interrupts_it_is_told_how_to_go_on() {
    let scene = Scene::of(240);
    let volumes = || scene.host.volume_directories();
    let before = volumes();
    // Not SIGINT: whoever runs the tests in the background has it ignored. It may be through before it hears of it.
    for attempt in 1.. {
        let child = scene.start(&[]);
        wait_until("something of it on the disk", DEADLINE, || volumes().len() > before.len());
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = ran(&child.wait_with_output().unwrap());
        if ended.code == 130 {
            let id = Scene::named_in(&ended.stderr);
            scene.host.envol(&["delete", &id, "--yes"]).expect_code(0);
            break;
        }
        let id = ended.expect_code(0).stdout.trim().to_owned();
        scene.host.envol(&["delete", &id, "--yes"]).expect_code(0);
        assert!(attempt < 20, "it was always through");
    }
    assert_eq!(volumes(), before);
}

/// A directory that has no record yet, as a kill may leave it, and one of a plain `create`.
#[test]
fn what_a_killed_command_left_before_it_wrote_anything_goes() {
    let scene = Scene::new();
    let host = &scene.host;
    let (bare, creating) = (scene.staging("vol-bare"), host.root().join("volumes/.creating-vol-plain"));
    for directory in [&bare, &creating] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(creating.join("backing"), vec![0; usize::try_from(4 * MIB).unwrap()]).unwrap();
    host.envol(&["delete", "vol-plain", "--yes"]).expect_code(0);
    assert!(!creating.exists() && bare.exists());
    let restored = host.restore(&scene.snapshot, &[]);
    assert!(!bare.exists());
    let mut expected = [restored, scene.volume.clone()];
    expected.sort();
    assert_eq!(host.volume_directories(), expected);
}
