//! Shells complete verbs, options and the ids of volumes and snapshots, without root's rights, without KMS, and without a word
//! where there is nothing to complete.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::{ENVOL, Host, Ran, ran};

/// A shell that finds the program under test as `envol`, as after an installation.
fn shell(program: &str) -> Command {
    let mut command = Command::new(program);
    let bin = Path::new(ENVOL).parent().unwrap().display();
    command
        .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
        .env("LC_ALL", "C")
        .env_remove("ENVOL_COMPLETE");
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/completions")).stdin(Stdio::null());
    command
}

/// What fish offers for a line that is being typed, one a line, with its description after a tab.
fn offered(line: &str) -> Vec<String> {
    let script = "source envol.fish; complete --do-complete $argv[1]";
    let fish = shell("fish").args(["--no-config", "-c", script, line]).output();
    let fish = ran(&fish.expect("fish is not installed; scripts/test.sh installs it")).expect_code(0);
    assert_eq!(fish.stderr, "");
    fish.stdout.lines().map(str::to_owned).collect()
}

/// Types at an interactive shell on a terminal, and returns what the terminal showed.
fn typed(interactive: &str, keys: &str) -> Ran {
    let mut terminal = shell("script");
    terminal.args(["--quiet", "--command", interactive, "/dev/null"]).env("TERM", "dumb").env("PS1", "ready ");
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = terminal.stdin.take().unwrap();
    input.write_all(keys.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    drop(input);
    ran(&output)
}

#[test]
fn the_ids_of_volumes_and_snapshots_are_completed_without_kms() {
    let host = Host::new();
    let orders = host.create(&["--size", "16MiB", "--id", "vol-orders"]);
    host.create(&["--size", "16MiB", "--id", "vol-customers"]);
    let snapshot = host.envol(&["snapshot", "create", &orders]).expect_code(0).stdout.trim().to_owned();
    host.stop_kms();
    let root = host.root().display().to_string();

    let volumes = vec!["vol-customers\tdb-TEST, 16MiB".to_owned(), "vol-orders\tdb-TEST, 16MiB".to_owned()];
    for verb in [
        "attach",
        "detach",
        "status",
        "events",
        "check",
        "resize",
        "delete",
        "snapshot create",
        "snapshot prune",
        "bench volume",
    ] {
        assert_eq!(offered(&format!("envol --root {root} {verb} v")), volumes, "{verb}");
    }
    assert_eq!(offered(&format!("envol --root={root} status vol-o")), [&*volumes[1]]);
    let snapshots = offered(&format!("envol --root {root} create --snapshot sn"));
    assert!(
        matches!(&snapshots[..], [one] if one.starts_with(&format!("{snapshot}\t")) && one.ends_with("of vol-orders")),
        "{snapshots:?}"
    );
    let store = host.root().join("snapshots");
    assert_eq!(offered(&format!("envol snapshot verify --store {} ", store.display()))[..1], snapshots[..]);

    // The rest of a line is what the shell typed for us, and then it is carried out.
    for (interactive, start) in [
        ("bash --norc --noprofile -i", ". ./envol.bash"),
        ("zsh -f -i", "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; PS1='ready '"),
    ] {
        let line =
            format!("{start}\nenvol --root {root} status vol-o\t\nenvol --root {root} status vol-none\t\nexit\n");
        let shown = typed(interactive, &line).stdout;
        let status = shown.lines().filter(|line| line.starts_with("volume") && line.trim_end().ends_with("vol-orders"));
        assert_eq!(status.count(), 1, "{interactive}:\n{shown}");
        assert!(
            shown.contains("no volume vol-none"),
            "what is no id must stay as it was typed: {interactive}:\n{shown}"
        );
    }
}

#[test]
fn verbs_options_and_their_words_are_completed() {
    let names = |line: &str| -> Vec<String> {
        offered(line).iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    assert_eq!(names("envol att"), ["attach"]);
    assert_eq!(names("envol attach vol-x /srv --fs "), ["ext4", "xfs"]);
    assert_eq!(names("envol attach vol-x /srv --own"), ["--owner"]);
    assert!(names("envol drill revoke --by ").contains(&"revoke-grant".to_owned()));
    assert_eq!(names("envol snapshot ver"), ["verify"]);
}

#[test]
fn where_there_is_nothing_to_complete_nothing_is_said() {
    let nowhere = "/nonexistent";
    assert!(offered(&format!("envol --root {nowhere} status vol-")).is_empty());
    assert!(
        offered(&format!("envol create --snapshot sn --store {nowhere}")).is_empty() && !Path::new(nowhere).exists()
    );
    assert!(offered("envol snapshot verify --store s3://bucket/prefix sn").is_empty());
    // Of another kind of arguments there is an error, for whoever types it.
    let unknown = shell(ENVOL).env("ENVOL_COMPLETE", "ksh").output().unwrap();
    ran(&unknown).expect_code(2).expect_stderr("unknown shell `ksh`");
    let typing = shell(ENVOL).env("ENVOL_COMPLETE", "ksh").args(["--", "envol", ""]).output().unwrap();
    assert_eq!(ran(&typing).expect_code(1).stderr, "");
}

#[test]
fn others_than_root_complete_what_they_may_see() {
    let host = Host::unprivileged();
    host.create(&["--size", "16MiB", "--id", "vol-mine"]);
    host.stop_kms();
    let mut asked = host.command(host.root().join("envol"));
    asked.env("ENVOL_COMPLETE", "fish").args(["--", "envol", "--root", host.root().to_str().unwrap(), "status", "vol"]);
    let answered = ran(&asked.output().unwrap()).expect_code(0);
    assert_eq!((answered.stdout.as_str(), answered.stderr.as_str()), ("vol-mine\tdb-TEST, 16MiB\n", ""));
}
