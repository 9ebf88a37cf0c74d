//! The keys of a volume lie where the design puts them and nowhere else, and after a revocation nowhere at all. Looked for in
//! all memory of the processes, by a program that derives them itself.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use harness::{ENVOL, Host, is_alive, ran, wait_until};
use serde_json::Value;

const GONE_DEADLINE: Duration = Duration::from_secs(20);

/// Of the locked area, where the kernel has no memfd_secret.
const AREA: &str = "/memfd:envol-keys (deleted)";

/// Knows the keys, and looks for them.
struct Searcher {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Searcher {
    fn new(host: &Host, image: &Path) -> Self {
        let mut python = host.command("python3");
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/key_memory.py")).arg(image);
        let mut process = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let questions = process.stdin.take().unwrap();
        let mut answers = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        answers.read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        Self { process, questions, answers }
    }

    fn look_into(&mut self, pid: i32) -> Value {
        writeln!(self.questions, "{pid}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Searcher {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// All that run this program, but for the local KMS, whose business keys are.
fn processes_of_ours() -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<i32>().ok());
    let ours = pids.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(ENVOL)));
    let is_kms = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().ends_with(b"\0kms\0serve\0");
    ours.filter(|pid| !is_kms(pid)).collect()
}

#[test]
fn keys_lie_in_the_locked_page_alone_and_after_a_revocation_nowhere() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let mut searcher = Searcher::new(&host, &host.backing(&volume));
    let mut attach = host.command("python3");
    attach.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/without_memfd_secret.py")).arg(ENVOL);
    attach.arg("--root").arg(host.root()).args(["attach", &volume, "--raw", "--probe-interval", "1s"]);
    ran(&attach.output().unwrap()).expect_code(0);
    let status = host.status(&volume);
    assert_eq!(status["key_memory"], "mlock", "{status}");

    // It has encrypted and decrypted with all of them.
    let mut file = fs::File::options().read(true).write(true).open(host.image(&volume)).unwrap();
    file.write_all(&[7; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    assert_eq!(fs::read(host.image(&volume)).unwrap()[..4], [7; 4]);
    drop(file);

    let daemon = host.daemon_pid(&volume);
    let found = searcher.look_into(daemon);
    println!("{found}");
    for key in ["XTS keys", "round keys", "key of the header's MAC"] {
        assert_eq!(found[key], serde_json::json!([AREA]), "{key}: {found}");
    }
    for key in ["volume key", "volume key in base64"] {
        assert!(found[key].is_null(), "{key}: {found}");
    }
    let companion = host.companion_pid(&volume);
    assert_eq!(searcher.look_into(companion), serde_json::json!({}));
    // The control: whoever asks KMS for it has it.
    let own = i32::try_from(searcher.process.id()).unwrap();
    assert!(searcher.look_into(own)["volume key"].is_array());

    host.disable_key();
    wait_until("the daemon's end", GONE_DEADLINE, || !is_alive(daemon));
    assert!(!is_alive(companion));
    for pid in processes_of_ours() {
        if is_alive(pid) {
            assert_eq!(searcher.look_into(pid), serde_json::json!({}), "pid {pid}");
        }
    }
}
