//! The owner of the key takes it away while a database is at work: the volume ends within one probe interval, for good.
//! KMS that does not answer is no such decision: the database works on.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::postgres::Postgres;
use harness::{Host, wait_until};

const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// From the answer of the KMS to the administrator until `status` says terminal.
const TERMINAL_DEADLINE: Duration = Duration::from_secs(PROBE_INTERVAL.as_secs() + 1);

/// From terminal until daemon, mount and loop device are gone: the front-end may take five seconds of it.
const GONE_DEADLINE: Duration = Duration::from_secs(15);

/// How long KMS is away in the test of an outage: several probes.
const OUTAGE: Duration = Duration::from_secs(8);

/// A volume with a PostgreSQL on it under load.
struct Scene {
    // Dropped in this order: the load, the database, the host.
    load: Load,
    postgres: Postgres,
    host: Host,
    volume: String,
    dir: PathBuf,
}

struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn new() -> Self {
        let host = Host::new();
        let volume = host.create(&["--size", "1GiB"]);
        let dir = host.directory("mnt");
        let interval = format!("{}s", PROBE_INTERVAL.as_secs());
        let attach = ["attach", &volume, dir.to_str().unwrap(), "--owner", "postgres", "--probe-interval", &interval];
        host.envol(&attach).expect_code(0);
        let postgres = Postgres::init(&dir);
        postgres.start();
        postgres.run("pgbench", &["-i", "-s", "1", "-q"]).expect_code(0);
        let mut pgbench = postgres.command("pgbench");
        pgbench.args(["-n", "-c", "2", "-T", "600"]).stdout(Stdio::null()).stderr(Stdio::null());
        let load = Load(pgbench.spawn().unwrap());
        let scene = Self { load, postgres, host, volume, dir };
        scene.wait_for_transactions();
        scene
    }

    fn transactions(&self) -> u64 {
        self.postgres.query("SELECT count(*) FROM pgbench_history").parse().unwrap()
    }

    fn wait_for_transactions(&self) {
        let before = self.transactions();
        wait_until("more transactions", Duration::from_secs(20), || self.transactions() > before + 20);
    }

    /// Revokes with the AWS CLI and holds the volume to what is promised from then on.
    fn revoked(&self, arguments: &[&str], cause: &str) {
        let Self { host, volume, dir, .. } = self;
        let daemon = host.daemon_pid(volume);
        let device = host.status(volume)["device"].as_str().unwrap().to_owned();
        fs::write(dir.join("used"), [b'x'; 4096]).unwrap();
        // Writing to the image beneath a mounted file system would damage it.
        let mut users = [User::of(&dir.join("used"), true), User::of(&host.image(volume), false)];
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = Ends(&ended);
            scope.spawn(|| restart_until(&ended, &self.postgres));
            let mut revoke = arguments.to_vec();
            let key = host.key_id();
            revoke.extend(["--key-id", &key]);
            assert!(users.iter_mut().all(User::goes_on), "the control: they go on until then");
            host.aws(&revoke).expect_code(0);
            let revoked = Instant::now();
            wait_until("terminal", TERMINAL_DEADLINE, || host.status(volume)["state"] == "terminal");
            println!("{cause}: terminal after {:?}", revoked.elapsed());
            let status = host.status(volume);
            assert_eq!(status["cause"], cause);
            assert!(status["since"].is_string(), "{status}");

            let left = || GONE_DEADLINE.saturating_sub(revoked.elapsed());
            wait_until("the end of the users", left(), || !users.iter_mut().any(User::goes_on));
            wait_until("the end of the mount", left(), || !is_mounted(dir));
            println!("{cause}: unmounted after {:?}", revoked.elapsed());
            wait_until("the end of the daemon", left(), || !Path::new(&format!("/proc/{daemon}")).exists());
            wait_until("the end of the loop device", left(), || is_clearing(&device, volume));
            println!("{cause}: all gone after {:?}", revoked.elapsed());
            assert!(fs::read(host.image(volume)).is_err());
            assert!(fs::read(dir.join("used")).is_err());
            assert_eq!(fs::write(dir.join("after"), b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));

            // The database tries to come back meanwhile, and finds nothing to start on.
            let tried = self.postgres.try_start();
            assert_ne!(tried.code, 0, "{}", tried.stdout);
        });
        wait_until("the end of the database", Duration::from_secs(60), || !self.postgres.is_running());
        assert_eq!(fs::read_dir(dir).unwrap().count(), 0, "something was written beneath the volume");
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o7777, 0);
        let flags = Command::new("lsattr").args(["-d"]).arg(dir).output().unwrap();
        assert!(flags.stdout.iter().take_while(|byte| **byte != b' ').any(|flag| *flag == b'i'), "not immutable");
    }

    /// Also when the key may be used again.
    fn stays_terminal(&self) {
        let Self { host, volume, dir, .. } = self;
        let attached = host.envol(&["attach", volume, dir.to_str().unwrap()]);
        attached.expect_code(6).expect_stderr("terminal").expect_stderr("restore");
        assert_eq!(host.status(volume)["state"], "terminal");
    }
}

/// Another process that has a file open, and uses its first block again and again until that fails. Past the page cache,
/// from which a read would succeed without the volume.
struct User(Child);

impl User {
    fn of(path: &Path, writes: bool) -> Self {
        const LOOP: &str = "import mmap, os, sys, time\n\
            block = mmap.mmap(-1, 4096)\n\
            file = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)\n\
            while os.preadv(file, [block], 0):\n    \
                if sys.argv[2] == 'true': os.pwritev(file, [block], 0)\n    \
                print('done', flush=True)\n    \
                time.sleep(0.02)\n";
        let mut python = Command::new("python3");
        python.args(["-c", LOOP]).arg(path).arg(writes.to_string()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = python.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "done", "the control: now it works");
        // What it says later must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        Self(process)
    }

    fn goes_on(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a supervisor does: starts the database again as soon as it is down.
fn restart_until(ended: &AtomicBool, postgres: &Postgres) {
    while !ended.load(Ordering::Relaxed) {
        if postgres.is_running() {
            thread::sleep(Duration::from_millis(50));
        } else {
            drop(postgres.try_start());
        }
    }
}

/// Sets the flag also when the test fails: somebody waits for it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == dir.to_str())
}

/// Gone, another volume's by now, or to go with its last user.
fn is_clearing(device: &str, volume: &str) -> bool {
    let sysfs = Path::new("/sys/block").join(Path::new(device).file_name().unwrap()).join("loop");
    let shown = fs::read_to_string(sysfs.join("backing_file")).unwrap_or_default();
    !shown.contains(volume) || fs::read_to_string(sysfs.join("autoclear")).is_ok_and(|flag| flag.trim() == "1")
}

#[test]
fn a_disabled_key_ends_a_volume_under_load_for_good() {
    let scene = Scene::new();
    scene.revoked(&["disable-key"], "key-disabled");
    scene.stays_terminal();
    scene.host.enable_key();
    scene.stays_terminal();
}

#[test]
fn a_key_that_is_scheduled_for_deletion_ends_a_volume_under_load_for_good() {
    let scene = Scene::new();
    scene.revoked(&["schedule-key-deletion", "--pending-window-in-days", "7"], "key-pending-deletion");
    scene.host.aws(&["cancel-key-deletion", "--key-id", &scene.host.key_id()]).expect_code(0);
    scene.host.enable_key();
    scene.stays_terminal();
}

#[test]
fn while_kms_does_not_answer_the_database_works_on() {
    let mut scene = Scene::new();
    let before = scene.host.status(&scene.volume);
    assert_eq!((before["unverified_s"].as_u64(), before["last_kms_error"].is_null()), (Some(0), true), "{before}");

    scene.host.stop_kms();
    let stopped = Instant::now();
    let mut unverified = Vec::new();
    while stopped.elapsed() < outage() {
        scene.wait_for_transactions();
        let status = scene.host.status(&scene.volume);
        assert_eq!(status["state"], "in-use");
        unverified.push(status["unverified_s"].as_u64().unwrap());
    }
    let status = scene.host.status(&scene.volume);
    println!("{status}");
    assert!(status["last_kms_error"].is_string(), "{status}");
    let last = *unverified.last().unwrap();
    assert!(unverified.is_sorted() && last > 0 && last <= stopped.elapsed().as_secs() + 3, "{unverified:?}");

    scene.host.start_kms();
    let started = Instant::now();
    wait_until("verified", Duration::from_secs(6), || scene.host.status(&scene.volume)["unverified_s"] == 0);
    println!("verified again after {:?}", started.elapsed());
    assert!(scene.host.status(&scene.volume)["last_kms_error"].is_null());
    scene.wait_for_transactions();
    assert!(scene.load.0.try_wait().unwrap().is_none(), "pgbench went on through all of it");
    scene.postgres.stop();
    scene.postgres.start();
    scene.postgres.check();
    scene.postgres.stop();
    scene.host.envol(&["detach", &scene.volume]).expect_code(0);
}

/// `ENVOL_TEST_OUTAGE_S` makes it longer than there is time for each day.
fn outage() -> Duration {
    std::env::var("ENVOL_TEST_OUTAGE_S").map_or(OUTAGE, |seconds| Duration::from_secs(seconds.parse().unwrap()))
}
