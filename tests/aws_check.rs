//! `scripts/aws-check.sh` against the local KMS: here every fact holds, it sees what it says, and it leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use harness::{ENVOL, Host, ran};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/aws-check.sh");
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";
const AS_GRANTEE: [&str; 4] = ["--volume-profile", "envol-volume", "--grantee", GRANTEE];

/// What only a principal can see that nothing but a grant allows anything.
const OF_A_GRANT: [u32; 7] = [5, 6, 7, 8, 9, 12, 17];

/// The script, with a folder for its own root directory.
fn script(host: &Host, arguments: &[&str]) -> (Command, PathBuf) {
    let place = host.root().join("tmp");
    fs::create_dir(&place).unwrap();
    let mut command = host.command(SCRIPT);
    command.env("TMPDIR", &place).args(["--yes", "--envol", ENVOL, "--deadline", "60"]).args(arguments);
    (command, place)
}

/// By the number of each fact, what became of it.
fn facts(stdout: &str) -> BTreeMap<u32, &str> {
    let lines = stdout.lines().filter_map(|line| {
        let (number, rest) = line.split_once(' ')?;
        let (verdict, _) = rest.split_once(':')?;
        Some((number.parse().ok()?, verdict))
    });
    lines.collect()
}

/// The numbers in the table that the script stands for.
fn documented() -> Vec<u32> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aws.md")).unwrap();
    let (_, table) = page.split_once("## What has not been verified against AWS").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap_or((table, ""));
    table.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok()).collect()
}

#[track_caller]
fn assert_nothing_is_left(host: &Host, place: &Path, stdout: &str) {
    let keys = host.aws(&["list-keys", "--query", "Keys[].KeyId", "--output", "text"]).expect_code(0).stdout;
    let own: Vec<&str> = keys.split_whitespace().filter(|key| *key != host.key_id()).collect();
    assert!(!own.is_empty(), "the script made no key");
    for key in own {
        let state = ["describe-key", "--key-id", key, "--query", "KeyMetadata.KeyState", "--output", "text"];
        assert_eq!(host.aws(&state).expect_code(0).stdout.trim(), "PendingDeletion");
        let tags = host.aws(&["list-resource-tags", "--key-id", key, "--output", "text"]).expect_code(0);
        assert!(tags.stdout.contains("envol-aws-check"), "{}", tags.stdout);
    }
    assert_eq!(fs::read_dir(place).unwrap().count(), 0, "files are left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let words = stdout.split_whitespace();
    let volumes: Vec<&str> = words.filter(|word| word.starts_with("vol-")).collect();
    assert!(!volumes.is_empty(), "{stdout}");
    for volume in volumes {
        assert!(!mounts.contains(volume), "{volume} is mounted");
    }
}

#[test]
fn with_a_profile_for_the_volume_service_every_fact_is_seen_and_holds() {
    let host = Host::new();
    let (mut script, place) = script(&host, &AS_GRANTEE);
    let ran = ran(&script.output().unwrap()).expect_code(0);
    println!("{}", ran.stdout);
    let facts = facts(&ran.stdout);
    assert!(facts.values().all(|verdict| *verdict == "held"), "{}", ran.stdout);
    assert_eq!(facts.into_keys().collect::<Vec<_>>(), documented());
    assert_nothing_is_left(&host, &place, &ran.stdout);
}

#[test]
fn with_the_callers_profile_alone_it_says_what_it_could_not_see() {
    let host = Host::new();
    let (mut script, place) = script(&host, &[]);
    let ran = ran(&script.output().unwrap()).expect_code(0);
    let facts = facts(&ran.stdout);
    for (number, verdict) in &facts {
        let wanted = if OF_A_GRANT.contains(number) { "could not be seen" } else { "held" };
        assert_eq!(*verdict, wanted, "{number} in:\n{}", ran.stdout);
    }
    assert_eq!(facts.into_keys().collect::<Vec<_>>(), documented());
    assert_nothing_is_left(&host, &place, &ran.stdout);
}

#[test]
fn a_fact_that_does_not_hold_is_said_and_does_not_end_the_run() {
    let host = Host::new();
    // The grant is not all that it may use the key by.
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}]}"#;
    let file = host.root().join("decrypts.json");
    fs::write(&file, policy).unwrap();
    let attach = ["kms", "principal", "attach-policy", "envol-volume", file.to_str().unwrap()];
    host.envol(&attach).expect_code(0);
    // What is done to a key is not known at once.
    host.envol(&["kms", "fault", "propagation", "6s"]).expect_code(0);
    let (mut script, place) = script(&host, &AS_GRANTEE);
    let ran = ran(&script.output().unwrap()).expect_code(0);
    let facts = facts(&ran.stdout);
    assert_eq!((facts[&8], facts[&10], facts[&19]), ("could not be seen", "did not hold", "held"), "{}", ran.stdout);
    host.envol(&["kms", "fault", "clear"]).expect_code(0);
    assert_nothing_is_left(&host, &place, &ran.stdout);
}

#[test]
fn interrupted_while_a_volume_is_attached_it_clears_up() {
    let host = Host::new();
    let (mut script, place) = script(&host, &AS_GRANTEE);
    let mut running = script.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap());
    let mut said = String::new();
    while !said.ends_with("is attached\n") {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended before a volume was attached:\n{said}");
    }
    // Not SIGINT: whoever runs the tests in the background has it ignored, and a shell cannot change that.
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    lines.read_to_string(&mut said).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(143), "{said}");
    assert_nothing_is_left(&host, &place, &said);
}

#[test]
fn without_an_agreement_it_makes_nothing() {
    let host = Host::new();
    let (_, place) = script(&host, &[]);
    let mut script = host.command(SCRIPT);
    ran(&script.env("TMPDIR", &place).args(["--envol", ENVOL]).output().unwrap()).expect_code(2).expect_stderr("--yes");
    let half = ["--envol", ENVOL, "--grantee", GRANTEE];
    ran(&host.command(SCRIPT).args(half).output().unwrap()).expect_code(2).expect_stderr("go together");
    let keys = host.aws(&["list-keys", "--query", "length(Keys)", "--output", "text"]).expect_code(0);
    assert_eq!(keys.stdout.trim(), "1", "alias/test alone");
}
