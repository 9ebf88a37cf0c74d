//! The line of docs/aws.md that tells probes from everything else, on the log of a KMS that a volume has asked.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use harness::{ENVOL, Host, ran, wait_until};

/// What stands between the quotes of `jq -r '…'` in the documentation.
fn documented_program() -> String {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aws.md")).unwrap();
    let command = page.split("envol kms audit --json | jq -r '").nth(1).expect("docs/aws.md has the command");
    command.split('\'').next().unwrap().to_owned()
}

fn shown(host: &Host, program: &str) -> Vec<String> {
    let script = format!("\"$0\" --root \"$1\" kms audit --json | jq -r '{program}'");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, ENVOL]).arg(host.root());
    let jq = ran(&shell.output().unwrap()).expect_code(0);
    assert_eq!(jq.stderr, "", "jq is not installed, or does not understand; scripts/test.sh installs it");
    jq.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn jq_tells_unwraps_from_probes() {
    let host = Host::new();
    let volume = host.create(&["--size", "16MiB"]);
    host.envol(&["attach", &volume, "--raw", "--probe-interval", "1s"]).expect_code(0);
    let probes = || {
        shown(&host, "select(.requestParameters.encryptionContext[\"envol:use\"]? == \"canary\" and .eventName == \"Decrypt\") | .eventID").len()
    };
    wait_until("three probes", Duration::from_secs(60), || probes() >= 3);

    let lines = shown(&host, &documented_program());
    assert!(lines.iter().all(|line| line.split('\t').count() == 5), "{lines:?}");
    let unwraps: Vec<&String> = lines.iter().filter(|line| line.contains("\tDecrypt\t")).collect();
    // As proof at create, and at attach.
    assert_eq!(unwraps.len(), 2, "{lines:#?}");
    assert!(unwraps.iter().all(|line| line.contains(&volume) && line.contains(":user/")), "{unwraps:?}");
}
