//! After a new version is installed, daemons of the old one go on; they are named, and every version can take them away.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use harness::{ENVOL, Host, ran};
use serde_json::{Value, json};

/// Another file with the same program, as a package's next version is.
fn installed(host: &Host) -> PathBuf {
    let envol = host.root().join("envol");
    fs::copy(ENVOL, &envol).unwrap();
    envol
}

fn run(host: &Host, envol: &Path, arguments: &[&str]) -> String {
    let output = host.command(envol).arg("--root").arg(host.root()).args(arguments).output().unwrap();
    ran(&output).expect_code(0).stdout
}

fn status(host: &Host, envol: &Path, volume: &str) -> Value {
    serde_json::from_str(&run(host, envol, &["--json", "status", volume])).unwrap()
}

#[test]
fn a_daemon_whose_binary_was_replaced_is_named_and_serves_on() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    let envol = installed(&host);
    run(&host, &envol, &["attach", &volume, "--raw"]);
    let before = status(&host, &envol, &volume);
    assert_eq!(before["daemon_outdated"], false, "the control: the very binary asks");
    assert_eq!(before["daemon_version"], env!("CARGO_PKG_VERSION"));

    // As dpkg and `cargo install` do it.
    fs::copy(ENVOL, host.root().join("envol.new")).unwrap();
    fs::rename(host.root().join("envol.new"), &envol).unwrap();
    let after = status(&host, &envol, &volume);
    assert_eq!((&after["daemon_outdated"], &after["state"]), (&true.into(), &"in-use".into()));
    let text = run(&host, &envol, &["status", &volume]);
    assert!(text.contains(&format!("`envol detach {volume}`, and attach again")), "{text}");
    fs::read(host.image(&volume)).unwrap();

    run(&host, &envol, &["detach", &volume]);
    run(&host, &envol, &["attach", &volume, "--raw"]);
    assert_eq!(status(&host, &envol, &volume)["daemon_outdated"], false);
}

#[test]
fn a_daemon_answers_status_and_detach_of_every_version_and_nothing_that_it_does_not_know() {
    let host = Host::new();
    let volume = host.create(&["--size", "64MiB"]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    let dir = host.root().join("volumes").join(&volume);
    let socket = fs::read_link(dir.join("attach")).unwrap().with_extension("sock");
    let ask = |question: Value| -> Value {
        let mut stream = UnixStream::connect(&socket).unwrap();
        writeln!(stream, "{question}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let unknown = ask(json!({ "version": 99, "dir": &dir, "command": "sing", "loud": true }));
    assert_eq!(unknown["reply"], "failed");
    assert!(unknown["message"].as_str().unwrap().contains("detach the volume and attach it again"), "{unknown}");
    for version in [1, 99] {
        let answer = ask(json!({ "version": version, "dir": &dir, "command": "status", "later": [1] }));
        assert_eq!((&answer["reply"], &answer["state"]), (&"status".into(), &"in-use".into()), "{answer}");
    }
    assert_eq!(ask(json!({ "version": 99, "dir": &dir, "command": "detach", "force": false }))["reply"], "detached");
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
}
