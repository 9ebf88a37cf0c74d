//! A database in a container, which is a process in mount and pid namespaces of its own: it sees a volume that was attached
//! after it started, holds it, and a revocation reaches it. What docs/containers.md tells to bind.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Host, wait_until};

const DEADLINE: Duration = Duration::from_secs(30);

/// A directory whose mounts others share, as systemd has `/`.
struct Shared(PathBuf);

impl Shared {
    fn new(host: &Host) -> Self {
        let dir = host.root().join("srv");
        fs::create_dir_all(&dir).unwrap();
        mount(&["--bind"], &[&dir, &dir]);
        mount(&["--make-shared"], &[&dir]);
        Self(dir)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.0).status();
        let _ = Command::new("chattr").args(["-R", "-i"]).arg(&self.0).stderr(Stdio::null()).status();
    }
}

fn mount(options: &[&str], paths: &[&Path]) {
    assert!(Command::new("mount").args(options).args(paths).status().unwrap().success());
}

/// The container's first process; the others end with it.
struct Container(Child);

impl Container {
    /// With `srv` at `/mnt`, bound with the propagation that `docker run --volume SRV:/mnt:PROPAGATION` asks for.
    fn start(srv: &Path, propagation: &str, script: &str) -> Self {
        let script = format!("mount --rbind \"$0\" /mnt && mount --make-{propagation} /mnt && {script}");
        let mut command = Command::new("unshare");
        // What it mounts itself stays in it.
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "slave"]);
        command.args(["sh", "-ec", &script]).arg(srv).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let first = BufReader::new(child.stdout.take().unwrap()).lines().next();
        assert!(matches!(first, Some(Ok(line)) if line == "ready"), "the container did not start");
        Self(child)
    }

    fn sees_a_volume(&self) -> bool {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0.id())).unwrap_or_default();
        let first = children.split_whitespace().next().unwrap_or_default().to_owned();
        fs::read_to_string(format!("/proc/{first}/mountinfo")).unwrap_or_default().contains(" /mnt/orders ")
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A database in miniature: waits for its directory, maps a file in it, and goes on.
const DATABASE: &str = "exec python3 -uc '
import mmap, os, time
print(\"ready\")
while not os.path.exists(\"/mnt/orders/data\"): time.sleep(0.02)
file = open(\"/mnt/orders/data\", \"r+b\")
page = mmap.mmap(file.fileno(), 0)
open(\"/mnt/orders/seen\", \"w\").write(\"by the database\")
while True: time.sleep(0.05); page[:2]
'";

#[test]
fn a_volume_that_is_attached_later_is_seen_in_a_container_and_a_revocation_takes_it_from_there() {
    let host = Host::new();
    let srv = Shared::new(&host);
    let dir = srv.0.join("orders");
    let database = Container::start(&srv.0, "rslave", DATABASE);
    let apart = Container::start(&srv.0, "rprivate", "echo ready; exec cat");
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, dir.to_str().unwrap(), "--probe-interval", "1s"]).expect_code(0);
    assert!(database.sees_a_volume(), "it does not propagate");
    assert!(!apart.sees_a_volume(), "it would have been seen in any case");

    fs::write(dir.join("data"), "in the volume").unwrap();
    wait_until("the database", DEADLINE, || dir.join("seen").exists());
    host.envol(&["detach", &volume]).expect_code(8).expect_stderr("python3");

    let mut database = database;
    host.disable_key();
    wait_until("the end of the database", DEADLINE, || database.0.try_wait().unwrap().is_some());
    wait_until("the end of the volume", DEADLINE, || host.status(&volume)["state"] == "terminal");
    wait_until("the end of its mount", DEADLINE, || !Path::new("/run/envol").join(&volume).exists());
}

#[test]
fn a_container_that_bound_the_volume_itself_is_cleared_of_it() {
    let host = Host::new();
    let srv = Shared::new(&host);
    let dir = srv.0.join("orders");
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, dir.to_str().unwrap(), "--probe-interval", "1s"]).expect_code(0);
    // As `--volume /srv:/srv` without a propagation: mounts of its own, which no unmount of the host's reaches.
    let copy = Container::start(&srv.0, "rprivate", "echo ready; exec cat");
    assert!(copy.sees_a_volume());

    host.disable_key();
    wait_until("the end of the volume", DEADLINE, || host.status(&volume)["state"] == "terminal");
    wait_until("the end of the mount in the container", DEADLINE, || !copy.sees_a_volume());
    let mut copy = copy;
    assert!(copy.0.try_wait().unwrap().is_none(), "who merely sees the mount is not ended");
}
