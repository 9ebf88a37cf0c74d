//! What a request costs in system calls of the daemon: its arrival, one call of the store and its answer. Not timed, so that a busy machine says the same as a quiet one.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use harness::{Host, ran};
use rustix::process::{Pid, Signal, kill_process};

const REQUESTS: u64 = 1000;

/// Opening and closing the image, a page of the allocation map, and calls that were under way when counting began.
const ALLOWANCE: u64 = 60;

const ARRIVAL: &str = "read";
const ANSWER: &str = "writev";
const TAKEN_BACK: &str = "io_getevents";

/// What a worker does after an answer while nobody asks (`src/fuse/linger.rs`): no part of a request. Under strace a yield takes so
/// long that it never pays, and so it is hardly ever tried.
const LINGERING: [&str; 2] = ["ppoll", "sched_yield"];

#[test]
fn a_read_or_a_write_is_its_arrival_one_call_of_the_store_and_its_answer() {
    has_few_calls("none", &["pread64"], &["io_submit", TAKEN_BACK]);
    has_few_calls("writeback", &["preadv2"], &["pwrite64"]);
}

/// Past the page cache a write is answered while it is on its way, and taken back after that.
fn has_few_calls(cache: &str, read_of_store: &[&str], write_of_store: &[&str]) {
    let host = Host::new();
    let volume = attached(&host, cache);
    for (direction, of_store) in [("randread", read_of_store), ("randwrite", write_of_store)] {
        let mut calls = calls_during(&host, &volume, || run(fio(&host, &volume, direction, "4k", LONE)));
        // It is seldom that two are taken back at once, and that one waits for another of the same block.
        let (fewest, waits) = if of_store.contains(&TAKEN_BACK) {
            (REQUESTS / 2, calls.remove("futex").unwrap_or(0))
        } else {
            (REQUESTS, 0)
        };
        assert!(waits <= 2 * ALLOWANCE, "{direction}: {waits} waits");
        for name in [ARRIVAL, ANSWER].iter().chain(of_store) {
            let count = calls.get(*name).copied().unwrap_or(0);
            let fewest = if *name == TAKEN_BACK { fewest } else { REQUESTS };
            assert!((fewest..=REQUESTS + ALLOWANCE).contains(&count), "{direction}: {name} {count} times: {calls:?}");
        }
        let names = 2 + of_store.len() as u64;
        assert!(calls.values().sum::<u64>() <= names * REQUESTS + ALLOWANCE, "{direction}: {calls:?}");
    }
}

/// At a deep queue a request has no thread that waits for it: it goes to the kernel's queue, and one thread takes several answers back at once.
/// Locks that are held by others are waited for with futex(2), the more the slower a traced thread is.
#[test]
fn at_a_deep_queue_few_requests_have_a_worker_that_waits() {
    let host = Host::new();
    let volume = attached(&host, "none");
    for (direction, of_store) in [("randread", "pread64"), ("randwrite", "pwrite64")] {
        let calls = calls_during(&host, &volume, || run(fio(&host, &volume, direction, "4k", DEEP)));
        let count = |name: &str| calls.get(name).copied().unwrap_or(0);
        for (name, count) in [
            (ARRIVAL, count(ARRIVAL)),
            ("call of the store", count(of_store) + count("io_submit")),
            (ANSWER, count(ANSWER)),
        ] {
            assert!((REQUESTS..=REQUESTS + ALLOWANCE).contains(&count), "{direction}: {name} {count} times: {calls:?}");
        }
        assert!(count(of_store) < REQUESTS / 2, "{direction}: {calls:?}");
        assert!(count("io_getevents") < REQUESTS, "{direction}: {calls:?}");
    }
    // The control: with one after the other nothing is queued.
    let calls = calls_during(&host, &volume, || run(fio(&host, &volume, "randread", "4k", LONE)));
    assert!(!calls.contains_key("io_submit"), "{calls:?}");
}

/// A commit is a write and a sync, and the write may make itself durable before that is asked for: never twice for that, and never where
/// nobody commits.
#[test]
fn a_commit_is_one_sync_of_the_store() {
    let host = Host::new();
    let volume = attached(&host, "none");
    let syncs = |how: &[&'static str]| {
        let fio = fio(&host, &volume, "randwrite", "4k", LONE.iter().chain(how).copied());
        let trace = traced(&host, &volume, &["--trace=fdatasync,io_submit", "--string-limit=1"], || run(fio));
        let count = |what: &str| trace.lines().filter(|line| line.contains(what)).count() as u64;
        (count("fdatasync("), count("RWF_DSYNC"))
    };
    let (asked_for, foreseen) = syncs(&["--fsync=1"]);
    let committed = asked_for + foreseen;
    assert!((REQUESTS..=REQUESTS + ALLOWANCE).contains(&committed), "{asked_for} and {foreseen} syncs");
    assert!(foreseen > REQUESTS / 2, "{foreseen} were foreseen");
    let (asked_for, foreseen) = syncs(&[]);
    assert!(asked_for + foreseen <= ALLOWANCE, "{asked_for} and {foreseen} syncs");
}

/// What the bounds above would not let pass.
#[test]
fn a_write_of_a_part_of_a_block_is_seen_to_cost_one_call_more() {
    let host = Host::new();
    let volume = attached(&host, "none");
    let calls = calls_during(&host, &volume, || run(fio(&host, &volume, "randwrite", "512", LONE)));
    assert!((4 * REQUESTS..=4 * REQUESTS + ALLOWANCE).contains(&calls.values().sum::<u64>()), "{calls:?}");
}

/// Every block of it is written: what was never written is answered without the store.
fn attached(host: &Host, cache: &str) -> String {
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw", "--cache", cache]).expect_code(0);
    let mut image = fs::OpenOptions::new().write(true).open(host.image(&volume)).unwrap();
    std::io::copy(&mut std::io::repeat(1).take(16 << 20), &mut image).unwrap();
    volume
}

/// One request after the other: with several at once the workers now and then wait for each other, which is no cost of a request.
const LONE: [&str; 1] = ["--ioengine=psync"];
const DEEP: [&str; 2] = ["--ioengine=libaio", "--iodepth=32"];

fn fio(
    host: &Host,
    volume: &str,
    direction: &str,
    block_size: &str,
    how: impl IntoIterator<Item = &'static str>,
) -> Command {
    let mut fio = Command::new("fio");
    fio.args(["--name=image", "--direct=1", "--size=16m", "--norandommap", "--allow_file_create=0"]).args(how);
    fio.arg(format!("--number_ios={REQUESTS}")).arg(format!("--filename={}", host.image(volume).display()));
    fio.arg(format!("--rw={direction}")).arg(format!("--bs={block_size}"));
    fio
}

fn run(mut fio: Command) {
    ran(&fio.output().expect("fio is not installed; scripts/test.sh installs it")).expect_code(0);
}

/// What strace says of the system calls that the daemon's workers made for what `work` asks.
fn traced(host: &Host, volume: &str, options: &[&str], work: impl FnOnce()) -> String {
    let workers = fuse_workers(host.daemon_pid(volume));
    let output = host.root().join("strace");
    let mut strace = Command::new("strace");
    strace.args(options).arg("--output").arg(&output);
    strace.args(workers.iter().map(|worker| format!("--attach={worker}")));
    let strace = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut strace = Tracer(strace.expect("strace is not installed; scripts/test.sh installs it"));
    let mut messages = BufReader::new(strace.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    for worker in &workers {
        let message = messages.next().expect("strace says whom it has attached to");
        assert!(message.contains("attached"), "{worker}: {message}");
    }
    work();
    strace.end();
    fs::read_to_string(output).unwrap()
}

/// Each with how often.
fn calls_during(host: &Host, volume: &str, work: impl FnOnce()) -> BTreeMap<String, u64> {
    let summary = traced(host, volume, &["--summary-only", "--summary-columns=calls,name"], work);
    let calls = summary.lines().filter_map(|line| {
        let (count, name) = line.trim().split_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?)).filter(|(name, _)| name != "total")
    });
    let mut calls: BTreeMap<String, u64> = calls.collect();
    let lingering: u64 = LINGERING.iter().filter_map(|name| calls.remove(*name)).sum();
    assert!(lingering < REQUESTS / 2, "workers look for more in vain: {lingering} calls");
    calls
}

fn fuse_workers(daemon: i32) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{daemon}/task")).unwrap().flatten();
    let workers = threads.filter(|thread| {
        let has_name = |name: String| ["fuser-", "fuse-waits", "store\n"].iter().any(|known| name.starts_with(known));
        fs::read_to_string(thread.path().join("comm")).is_ok_and(has_name)
    });
    let workers: Vec<String> = workers.map(|thread| thread.file_name().into_string().unwrap()).collect();
    assert!(!workers.is_empty(), "the FUSE workers have another name");
    workers
}

/// Ends with the test: a daemon that is traced by nobody goes on.
struct Tracer(Child);

impl Tracer {
    /// In good order: it lets go of the threads and writes what it counted.
    fn end(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
