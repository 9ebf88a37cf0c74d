//! What the fuzzer has found so far, once more, without the fuzzer: on every compiler, with every run of the tests.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use envol_fuzz::{TARGETS, find, run};

const TARGET: &str = "ENVOL_FUZZ_TARGET";
const FOLDER: &str = "ENVOL_FUZZ_FOLDER";
/// For one input; the slowest take some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The inputs in `folder` through one target, in a process of its own: some targets have settings, sockets and threads.
fn replay(target: &str, folder: &Path) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut process = Command::new(env::current_exe().unwrap());
    process.args(["in_a_process_of_its_own", "--exact", "--nocapture"]);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            process.env_remove(&name);
        }
    }
    process
        .env(TARGET, target)
        .env(FOLDER, folder)
        .env("TMPDIR", home.path())
        .env("AWS_CONFIG_FILE", home.path().join("aws-config"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .output()
        .unwrap()
}

/// Does nothing but in the process that [`replay`] starts.
#[test]
fn in_a_process_of_its_own() {
    let (Ok(name), Some(folder)) = (env::var(TARGET), env::var_os(FOLDER)) else { return };
    let target = find(&name).unwrap();
    let (goes_on, watched) = channel::<String>();
    thread::spawn(move || {
        let mut at = String::new();
        loop {
            match watched.recv_timeout(PATIENCE) {
                Ok(next) => at = next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{at} takes longer than {PATIENCE:?}");
                    std::process::exit(3);
                }
            }
        }
    });
    for file in files(Path::new(&folder)) {
        goes_on.send(file.display().to_string()).unwrap();
        eprintln!("{}", file.display());
        run(target, &fs::read(&file).unwrap()).unwrap();
    }
}

#[test]
fn every_input_that_was_kept_is_decoded_within_its_bounds() {
    for target in &TARGETS {
        let replayed = replay(target.name, &corpus().join(target.name));
        assert!(replayed.status.success(), "{}: {}", target.name, String::from_utf8_lossy(&replayed.stderr));
    }
}

#[test]
fn a_target_that_panics_takes_too_much_or_never_ends_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("input"), "two bytes or more").unwrap();
    for (control, sign) in [
        ("control_panic", "a decoder that panics"),
        ("control_allocation", "Excess { taken_bytes: 1048576, limit_bytes: 66624 }"),
        ("control_hang", "takes longer than 5s"),
    ] {
        let replayed = replay(control, folder.path());
        let said = String::from_utf8_lossy(&replayed.stderr);
        assert!(!replayed.status.success() && said.contains(sign), "{control}: {said}");
    }
    // What they do not mind.
    fs::write(folder.path().join("input"), "x").unwrap();
    for control in ["control_panic", "control_allocation", "control_hang"] {
        assert!(replay(control, folder.path()).status.success(), "{control}");
    }
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let folders: BTreeSet<_> =
        files(&corpus()).iter().map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(folders, TARGETS.iter().map(|target| target.name.to_owned()).collect());
    for folder in files(&corpus()) {
        assert!(files(&folder).len() >= 2, "{}", folder.display());
    }
}

/// It is in the repository, and each run of the tests reads it.
#[test]
fn the_corpus_is_small() {
    let sizes: Vec<u64> = files(&corpus())
        .iter()
        .flat_map(|folder| files(folder))
        .map(|file| fs::metadata(file).unwrap().len())
        .collect();
    assert!(sizes.iter().all(|size| *size <= 4096));
    assert!(sizes.iter().sum::<u64>() < 1_500_000, "{} bytes", sizes.iter().sum::<u64>());
}
