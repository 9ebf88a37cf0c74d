//! Snapshots in S3, on a real server: all that a directory does, with the logins that people have for AWS.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use harness::hostile::{Hostile, forget_peak, peak_bytes};
use harness::seaweed::{BUCKET, KEY_ID, REGION, SECRET, Seaweed};
use harness::snapshots::{bytes_in, content, noise, write};
use harness::wire::Wire;
use harness::{ENVOL, Host, Ran, ran, wait_until};
use rustix::process::Signal;
use serde_json::Value;

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(60);

/// Commands with a login for S3 that neither the host nor its daemons know of.
struct Person<'a> {
    host: &'a Host,
    environment: Vec<(&'static str, String)>,
    /// What each command ends with.
    options: Vec<String>,
}

impl<'a> Person<'a> {
    /// The AWS variables, which KMS and S3 both know.
    fn with_variables(host: &'a Host, server: &Seaweed, endpoint: String, prefix: &str) -> Self {
        let environment = vec![
            ("AWS_ACCESS_KEY_ID", server.admin.0.clone()),
            ("AWS_SECRET_ACCESS_KEY", server.admin.1.clone()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ENDPOINT_URL_S3", endpoint),
        ];
        Self { host, environment, options: vec!["--store".to_owned(), url(prefix)] }
    }

    /// A profile for the store alone; KMS is asked as the host does it.
    fn with_profile(host: &'a Host, profile: &str, endpoint: &str, login: &str, prefix: &str) -> Self {
        let file = host.variable("AWS_CONFIG_FILE");
        let section = format!("\n[profile {profile}]\nregion = {REGION}\nendpoint_url = {endpoint}\n{login}\n");
        fs::write(file, fs::read_to_string(file).unwrap() + &section).unwrap();
        let options = ["--store", &url(prefix), "--store-profile", profile];
        Self { host, environment: Vec::new(), options: options.map(str::to_owned).to_vec() }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = self.host.command(ENVOL);
        if self.environment.iter().any(|(name, _)| *name == "AWS_ACCESS_KEY_ID") {
            command.env_remove("AWS_PROFILE");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.arg("--root").arg(self.host.root()).arg("--json").args(arguments).args(&self.options);
        command
    }

    fn envol(&self, arguments: &[&str]) -> Ran {
        ran(&self.command(arguments).output().unwrap())
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.envol(arguments).expect_code(0).stdout).unwrap()
    }

    #[track_caller]
    fn snapshot(&self, volume: &str, more: &[&str]) -> Value {
        self.json(&[&["snapshot", "create", volume], more].concat())
    }

    #[track_caller]
    fn content_of(&self, snapshot: &str) -> Vec<(u64, u64)> {
        let restore = ["create", "--snapshot", snapshot, "--db-id", "db-RESTORED", "--kms-key", "alias/test"];
        let volume = text(&self.json(&restore)["volume_id"]);
        self.host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        let found = content(&self.host.image(&volume));
        self.host.envol(&["detach", &volume]).expect_code(0);
        self.host.envol(&["delete", &volume, "--yes"]).expect_code(0);
        found
    }

    fn list(&self) -> Vec<String> {
        let listed = self.json(&["snapshot", "list"]);
        assert_eq!(listed["unreadable"].as_array().unwrap().len(), 0, "{listed}");
        listed["snapshots"].as_array().unwrap().iter().map(|snapshot| text(&snapshot["snapshot_id"])).collect()
    }
}

fn url(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn attached(host: &Host, size: &str) -> String {
    let volume = host.create(&["--size", size]);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    volume
}

fn static_login() -> String {
    format!("aws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}")
}

/// The daemon was there before anybody had a login for S3: it has it from the command.
#[test]
fn the_whole_life_of_snapshots_with_the_variables_of_the_command() {
    let host = Host::new();
    let volume = attached(&host, "128MiB");
    write(&host, &volume, 0, &noise(1, 40 << 20));
    let server = Seaweed::start(&host);
    let person = Person::with_variables(&host, &server, server.endpoint(), "life");

    let first = content(&host.image(&volume));
    let full = person.snapshot(&volume, &["--no-compression"]);
    write(&host, &volume, 50 * MIB, &noise(2, 4096));
    let second = content(&host.image(&volume));
    let incremental = person.snapshot(&volume, &["--no-compression"]);
    let ids = [text(&full["snapshot_id"]), text(&incremental["snapshot_id"])];
    assert!(full["stored_bytes"].as_u64().unwrap() >= 40 * MIB, "{full}");
    assert_eq!(incremental["base_snapshot_id"], ids[0].as_str());
    assert!(incremental["stored_bytes"].as_u64().unwrap() < MIB, "{incremental}");

    let server_has = |what: &str| server.objects(&format!("life/{what}")).len();
    assert_eq!((server_has("snapshots"), server_has("packs"), server_has("uploads")), (2, 3, 0));
    assert_eq!(person.list(), ids);
    assert_eq!(person.json(&["snapshot", "show", &ids[1]])["volume_id"], volume.as_str());
    assert_eq!(host.status(&volume)["last_snapshot"]["snapshot_id"], ids[1].as_str());
    for (id, moment) in ids.iter().zip([&first, &second]) {
        assert_eq!(person.json(&["snapshot", "verify", id])["verified"], true);
        assert_eq!(person.content_of(id), *moment);
    }

    let pruned = person.json(&["snapshot", "prune", &volume, "--keep-last", "1"]);
    assert_eq!(pruned["deleted"], serde_json::json!([ids[0]]));
    assert_eq!(person.list(), ids[1..]);
    assert_eq!(person.json(&["snapshot", "gc"])["removed_objects"], 0);
    assert_eq!(person.content_of(&ids[1]), second);
    person.json(&["snapshot", "delete", &ids[1], "--yes"]);
    assert_eq!(server.objects("life"), []);
    person.envol(&["snapshot", "show", &ids[1]]).expect_code(3);
    assert!(host.status(&volume)["last_snapshot"].is_null());
}

#[test]
fn copies_go_from_a_directory_to_s3_within_it_and_back_with_a_profile() {
    let host = Host::new();
    let volume = attached(&host, "64MiB");
    let server = Seaweed::start(&host);
    write(&host, &volume, 0, &noise(1, 36 << 20));
    let first = content(&host.image(&volume));
    let in_directory = text(&host.snapshot(&volume, &[])["snapshot_id"]);

    let here = Person::with_profile(&host, "here", &server.endpoint(), &static_login(), "here");
    let there = Person::with_profile(&host, "there", &server.endpoint(), &static_login(), "there");
    let upload = ["snapshot", "copy", &in_directory, "--to-store", &url("here"), "--to-store-profile", "here"];
    let uploaded = text(&host.json(&upload)["snapshot_id"]);
    assert_eq!(here.list(), [uploaded.as_str()]);
    assert_eq!(here.content_of(&uploaded), first);
    // The next one builds upon it.
    write(&host, &volume, 40 * MIB, &noise(2, 4096));
    let second = content(&host.image(&volume));
    let newer = text(&host.snapshot(&volume, &[])["snapshot_id"]);
    let upload = ["snapshot", "copy", &newer, "--to-store", &url("here"), "--to-store-profile", "here"];
    let upload = host.json(&upload);
    assert_eq!(upload["base_snapshot_id"], uploaded.as_str());
    assert!(upload["stored_bytes"].as_u64().unwrap() < MIB, "{upload}");
    let newer_uploaded = text(&upload["snapshot_id"]);

    let across = ["snapshot", "copy", &newer_uploaded, "--to-store", &url("there"), "--to-store-profile", "there"];
    let across = text(&here.json(&across)["snapshot_id"]);
    // What is in the other prefix is not needed for it.
    for id in [&uploaded, &newer_uploaded] {
        here.json(&["snapshot", "delete", id, "--yes"]);
    }
    assert_eq!(server.objects("here"), []);
    assert_eq!(there.content_of(&across), second);

    let directory = host.root().join("back");
    let directory = directory.to_str().unwrap();
    let back = text(&there.json(&["snapshot", "copy", &across, "--to-store", directory])["snapshot_id"]);
    assert_eq!(host.content_of_snapshot(&back, &["--store", directory]), second);
    let taken = text(&there.snapshot(&volume, &[])["snapshot_id"]);
    assert_eq!(there.content_of(&taken), second);
    // The control: without the profile it is nobody's login there.
    host.envol(&["snapshot", "list", "--store", &url("there")]).expect_code(1);
}

/// SIGKILL to a command; the daemon lives.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn started(person: &Person<'_>, arguments: &[&str]) -> Running {
    let mut command = person.command(arguments);
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn what_a_killed_command_had_uploaded_is_not_uploaded_again() {
    let host = Host::new();
    let volume = attached(&host, "256MiB");
    let server = Seaweed::start(&host);
    let wire = Wire::to(server.address());
    let person = Person::with_variables(&host, &server, wire.endpoint(), "killed");
    write(&host, &volume, 0, &noise(1, 160 << 20));
    let before = content(&host.image(&volume));

    let slow = started(&person, &["snapshot", "create", &volume, "--no-compression", "--bandwidth", "16MiB"]);
    wait_until("two packs", SOON, || server.objects("killed/packs").len() >= 2);
    drop(slow);
    let uploads = server.objects("killed/uploads");
    assert_eq!(uploads.len(), 1);
    let interrupted = uploads[0].0.rsplit('/').next().unwrap().to_owned();
    assert_eq!(server.objects("killed/snapshots"), []);
    // The daemon lets go of it by itself.
    let mut repeated = None;
    let up_to_here = std::cell::Cell::new(0);
    wait_until("the daemon to be free again", SOON, || {
        up_to_here.set(wire.bytes_to_server());
        let ran = person.envol(&["snapshot", "create", &volume, "--no-compression"]);
        assert!([0, 8].contains(&ran.code), "{}", ran.stderr);
        repeated = (ran.code == 0).then_some(ran);
        repeated.is_some()
    });
    let snapshot: Value = serde_json::from_str(&repeated.unwrap().stdout).unwrap();
    let again = wire.bytes_to_server() - up_to_here.get();
    println!("uploaded before the kill: {}, by the repeat: {again}", up_to_here.get());
    assert_eq!(snapshot["snapshot_id"], interrupted.as_str());
    assert!(again < 100 * MIB, "{again} of {} bytes were uploaded once more", 160 * MIB);
    assert_eq!(person.json(&["snapshot", "gc"])["removed_objects"], 0);
    assert_eq!(server.objects("killed/uploads"), []);
    let stored: u64 = server.objects("killed/packs").iter().map(|(_, len)| len).sum();
    assert!(stored < 170 * MIB, "{stored}");
    assert_eq!(person.content_of(&interrupted), before);

    // One that nobody continues is cleared away, and nothing else.
    write(&host, &volume, 170 * MIB, &noise(2, 40 << 20));
    // So slow that it is not through before it is killed, however busy the host is.
    let slow = started(&person, &["snapshot", "create", &volume, "--no-compression", "--bandwidth", "2MiB"]);
    wait_until("a pack more", SOON, || {
        let packs: u64 = server.objects("killed/packs").iter().map(|(_, len)| len).sum();
        packs > stored
    });
    drop(slow);
    wait_until("gc to see that it is dead", SOON, || {
        person.json(&["snapshot", "gc"]);
        let left: u64 = server.objects("killed/packs").iter().map(|(_, len)| len).sum();
        server.objects("killed/uploads").is_empty() && left == stored
    });
    assert_eq!(person.list(), [interrupted.as_str()]);
    person.json(&["snapshot", "verify", &interrupted]);
}

#[test]
fn connections_that_are_cut_cost_only_time() {
    let host = Host::new();
    let volume = attached(&host, "128MiB");
    let server = Seaweed::start(&host);
    let wire = Wire::to(server.address());
    let person = Person::with_variables(&host, &server, wire.endpoint(), "cut");
    write(&host, &volume, 0, &noise(1, 100 << 20));
    wire.cut(4);
    let snapshot = text(&person.snapshot(&volume, &["--no-compression"])["snapshot_id"]);
    assert_eq!(wire.cuts_left(), 0, "nothing was cut");
    assert_eq!(person.json(&["snapshot", "verify", &snapshot])["verified"], true);
    assert_eq!(person.json(&["snapshot", "gc"])["removed_objects"], 0);
}

/// Says what is wrong, soon, and leaves the volume alone.
#[track_caller]
fn refused(person: &Person<'_>, what: &str, arguments: &[&str], parts: &[&str]) {
    let begun = Instant::now();
    let ran = person.envol(arguments);
    let took = begun.elapsed();
    println!("{what}: exit code {} after {took:?}: {}", ran.code, ran.stderr);
    assert_eq!(ran.code, 1, "{what}: {}", ran.stderr);
    for part in parts {
        assert!(ran.stderr.contains(part), "{what}: no {part:?} in: {}", ran.stderr);
    }
    assert!(took < SOON, "{what}: {took:?}");
}

#[test]
fn a_store_that_cannot_be_used_is_said_soon_and_the_volume_goes_on() {
    let host = Host::new();
    let volume = attached(&host, "128MiB");
    let server = Seaweed::start(&host);
    let wire = Wire::to(server.address());
    write(&host, &volume, 0, &noise(1, 80 << 20));
    let good = Person::with_variables(&host, &server, server.endpoint(), "errors");
    let snapshot = text(&good.snapshot(&volume, &[])["snapshot_id"]);
    let (create, list, verify) =
        (["snapshot", "create", &volume], ["snapshot", "list"], ["snapshot", "verify", &snapshot]);

    let login = format!("aws_access_key_id = {KEY_ID}\naws_secret_access_key = not-the-secret");
    let wrong = Person::with_profile(&host, "wrong", &server.endpoint(), &login, "errors");
    for arguments in [&create[..], &list, &verify] {
        let parts = [&url("errors"), "SignatureDoesNotMatch", "Check the credentials"];
        refused(&wrong, "wrong secret", arguments, &parts);
    }
    let login = static_login().replace(KEY_ID, "AKIANOBODYKNOWSTHIS0");
    let unknown = Person::with_profile(&host, "unknown", &server.endpoint(), &login, "errors");
    refused(&unknown, "unknown key", &list, &[&url("errors"), "InvalidAccessKeyId", "Check the credentials"]);

    let mut nowhere = Person::with_variables(&host, &server, server.endpoint(), "errors");
    nowhere.options[1] = "s3://no-such-bucket/errors".to_owned();
    for arguments in [&create[..], &list, &verify] {
        let parts = ["s3://no-such-bucket/errors", "there is no bucket `no-such-bucket`", "--store"];
        refused(&nowhere, "no bucket", arguments, &parts);
    }

    let closed = format!("http://{}", harness::free_address());
    let down = Person::with_variables(&host, &server, closed.clone(), "errors");
    for arguments in [&create[..], &verify] {
        refused(&down, "server down", arguments, &[&url("errors"), &closed, "AWS_ENDPOINT_URL_S3"]);
    }
    let write_on = |round| {
        write(&host, &volume, 90 * MIB, &noise(round, 1 << 20));
        assert_eq!(host.status(&volume)["state"], "in-use");
    };
    write_on(2);

    let nobody = Person::with_profile(&host, "nobody", &server.endpoint(), "", "errors");
    nobody.envol(&list).expect_code(2).expect_stderr("no login for S3").expect_stderr("profile `nobody`");

    server.signal(Signal::STOP);
    refused(&good, "a server that does not answer", &create, &[&url("errors"), "did not answer in time"]);
    server.signal(Signal::CONT);
    write_on(3);

    // In the middle of an upload.
    write(&host, &volume, 0, &noise(4, 80 << 20));
    let person = Person::with_variables(&host, &server, wire.endpoint(), "errors");
    let packs = || server.objects("errors/packs").len();
    let there = packs();
    let slow = [&create[..], &["--no-compression", "--bandwidth", "24MiB"]].concat();
    let command = std::thread::scope(|scope| {
        let command = scope.spawn(|| {
            let ran = person.envol(&slow);
            (ran, Instant::now())
        });
        wait_until("a pack", SOON, || packs() > there);
        wire.close();
        let closed_at = Instant::now();
        write_on(5);
        let (ran, ended_at) = command.join().unwrap();
        (ran, ended_at.saturating_duration_since(closed_at))
    });
    println!("server gone during the upload: {:?} after {:?}", command.0, command.1);
    assert!(command.1 < SOON, "{:?}", command.1);
    command.0.expect_code(1).expect_stderr("cannot store packs/").expect_stderr(&url("errors"));

    // The control: the volume is well, and the upload is taken up where it ended.
    let again = good.snapshot(&volume, &["--no-compression"]);
    assert_eq!(good.list(), [snapshot, text(&again["snapshot_id"])]);
}

/// No answer of that kind keeps a snapshot from being refused soon, grows the daemon, or holds up the volume.
#[track_caller]
fn refused_answers(prefix: &str, answers: &[Hostile], said: &str) {
    let host = Host::new();
    let volume = attached(&host, "64MiB");
    let server = Seaweed::start(&host);
    let wire = Wire::to(server.address());
    let person = Person::with_variables(&host, &server, wire.endpoint(), prefix);
    write(&host, &volume, 0, &noise(1, 8 << 20));
    let before = content(&host.image(&volume));
    let snapshot = text(&person.snapshot(&volume, &[])["snapshot_id"]);
    let pid = host.daemon_pid(&volume);
    for answer in answers {
        wire.answer_with(Some(*answer), 0);
        forget_peak(pid);
        let small = peak_bytes(pid);
        for arguments in [&["snapshot", "create", &volume][..], &["snapshot", "list"]] {
            refused(&person, &format!("{answer:?}"), arguments, &[&url(prefix), said]);
        }
        // What comes in the place of an object is a damaged object, if it comes as one.
        let ran = person.envol(&["snapshot", "verify", &snapshot]);
        assert!(
            [1, 7].contains(&ran.code) && ran.stderr.contains(&snapshot),
            "{answer:?}: {} {}",
            ran.code,
            ran.stderr
        );
        let (grown, taken) = (peak_bytes(pid).saturating_sub(small), wire.most_taken());
        println!("{answer:?}: {taken} bytes taken, the daemon grew by {grown}");
        assert!(grown < 64 * MIB && taken < 128 * MIB, "{answer:?}: {taken} bytes taken, {grown} grown");
        assert_eq!((host.daemon_pid(&volume), host.status(&volume)["state"].clone()), (pid, "in-use".into()));
    }
    // The control: the same wire, and it says what the server says.
    wire.answer_with(None, 0);
    assert_eq!(person.list(), [snapshot.as_str()]);
    assert_eq!(person.content_of(&snapshot), before);
    person.snapshot(&volume, &[]);
}

#[test]
fn a_wrong_answer_of_s3_is_refused() {
    refused_answers("wrong", &[Hostile::Page], "invalid list response");
}

#[test]
fn an_answer_of_s3_that_is_cut_short_is_refused() {
    refused_answers("short", &[Hostile::CutShort], "end of file before message length reached");
}

/// The command asks first, with connections of its own: whichever of them and of the daemon's it is that has such an answer.
#[test]
fn a_huge_answer_of_s3_to_the_daemon_does_not_end_it() {
    let host = Host::new();
    let volume = attached(&host, "64MiB");
    let server = Seaweed::start(&host);
    let wire = Wire::to(server.address());
    let person = Person::with_variables(&host, &server, wire.endpoint(), "daemon");
    write(&host, &volume, 0, &noise(1, 8 << 20));
    person.snapshot(&volume, &[]);
    write(&host, &volume, 0, &noise(2, 8 << 20));
    let pid = host.daemon_pid(&volume);
    for honest in 0.. {
        wire.answer_with(Some(Hostile::Promise), honest);
        let ran = person.envol(&["snapshot", "create", &volume]);
        println!("after {honest} connections: exit code {}: {}", ran.code, ran.stderr);
        assert_eq!(host.status(&volume)["pid"], pid, "{}", ran.stderr);
        // The control: there are no more connections than that.
        if ran.code == 0 {
            assert!(honest > 1, "the daemon has one of its own");
            break;
        }
        ran.expect_code(1).expect_stderr(&url("daemon"));
    }
    wire.answer_with(None, 0);
    let listed = person.list();
    assert!(listed.len() > 1, "{listed:?}");
    for snapshot in listed {
        person.json(&["snapshot", "verify", &snapshot]);
    }
}

/// A length that no memory has ended the process that made room for it.
#[test]
fn a_huge_answer_of_s3_is_refused_before_it_is_kept() {
    refused_answers("huge", &[Hostile::Gibibyte, Hostile::Promise], "bytes that anything asked for can have");
}

#[test]
fn damage_in_s3_is_named_and_nothing_is_served_of_it() {
    let host = Host::new();
    let volume = attached(&host, "128MiB");
    let server = Seaweed::start(&host);
    let person = Person::with_variables(&host, &server, server.endpoint(), "damage");
    write(&host, &volume, 0, &noise(1, 70 << 20));
    let snapshot = text(&person.snapshot(&volume, &["--no-compression"])["snapshot_id"]);
    write(&host, &volume, 0, &noise(2, 1 << 20));
    let newer = text(&person.snapshot(&volume, &["--no-compression"])["snapshot_id"]);
    let there = host.volume_directories();
    let restore = ["create", "--snapshot", &snapshot, "--db-id", "db-RESTORED", "--kms-key", "alias/test"];
    let refused = |what: &str, object: &str| {
        for arguments in [&["snapshot", "verify", &snapshot][..], &restore] {
            let ran = person.envol(arguments);
            assert_eq!(ran.code, 7, "{what}: {}", ran.stderr);
            let object = object.strip_prefix("damage/").unwrap();
            assert!(ran.stderr.contains(&snapshot) && ran.stderr.contains(object), "{what}: {}", ran.stderr);
        }
        assert_eq!(host.volume_directories(), there, "{what}");
    };

    let packs = server.objects(&format!("damage/packs/{snapshot}"));
    let (first, second) = (&packs[0].0, &packs[1].0);
    let whole = server.get(first);
    for at in [0, whole.len() / 2] {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        server.put(first, &flipped);
        refused("a flipped byte", first);
    }
    server.put(first, &whole[..whole.len() / 2]);
    refused("cut short", first);
    server.remove(first);
    refused("missing", first);
    server.put(first, &server.get(second));
    refused("another in its place", first);
    server.put(first, &whole);

    let manifest = format!("damage/snapshots/{snapshot}");
    let whole = server.get(&manifest);
    let mut flipped = whole.clone();
    let at = whole.len() - 5;
    flipped[at] ^= 1;
    server.put(&manifest, &flipped);
    refused("a flipped byte of the manifest", &manifest);
    server.put(&manifest, &server.get(&format!("damage/snapshots/{newer}")));
    refused("the manifest of another", &manifest);
    server.put(&manifest, &whole);

    // An older one under the name of a newer one.
    let newer_manifest = format!("damage/snapshots/{newer}");
    let whole = server.get(&newer_manifest);
    server.put(&newer_manifest, &server.get(&manifest));
    person.envol(&["snapshot", "verify", &newer]).expect_code(7).expect_stderr(&newer);
    server.put(&newer_manifest, &whole);

    // The control.
    for id in [&snapshot, &newer] {
        person.json(&["snapshot", "verify", id]);
    }
}

#[test]
fn of_two_who_write_the_same_manifest_one_wins() {
    let host = Host::new();
    let server = Seaweed::start(&host);
    for round in 0..20 {
        let name = format!("manifests/snap-{round}");
        let contents: Vec<Vec<u8>> = (0..8).map(|writer| noise(writer, 4096)).collect();
        assert_eq!(server.create_at_once(&name, &contents), 1, "round {round}");
        assert!(contents.contains(&server.get(&name)));
        assert_eq!(server.create_at_once(&name, &contents[..1]), 0, "round {round}: it is there");
    }
}

/// Prints one key for the first commands, and another from then on; both serve, for a few seconds.
const PROCESS: &str = r#"#!/bin/sh
echo >> "$0.calls"
key=FIRST
[ "$(wc -l < "$0.calls")" -le 2 ] || key=LATER
. "$0.$key"
at=$(date -u -d "+$SECONDS_LEFT seconds" +%Y-%m-%dT%H:%M:%SZ)
printf '{"Version": 1, "AccessKeyId": "%s", "SecretAccessKey": "%s", "Expiration": "%s"}\n' "$ID" "$SECRET" "$at"
"#;

#[test]
fn credentials_that_expire_are_asked_for_again() {
    let host = Host::new();
    let volume = attached(&host, "256MiB");
    let server = Seaweed::start(&host);
    let wire = Wire::to(server.address());
    let process = host.root().join("login");
    let calls = || fs::read_to_string(process.with_extension("calls")).unwrap_or_default().lines().count();
    fs::write(&process, PROCESS).unwrap();
    let pairs = [("FIRST", (KEY_ID, SECRET)), ("LATER", (&server.admin.0, &server.admin.1))];
    for (name, (id, secret)) in pairs {
        let values = format!("ID={id}\nSECRET='{secret}'\nSECONDS_LEFT=${{SECONDS_LEFT:-8}}\n");
        fs::write(process.with_extension(name), values).unwrap();
    }
    let login = format!("credential_process = sh {}", process.display());
    let mut person = Person::with_profile(&host, "process", &wire.endpoint(), &login, "expiring");
    write(&host, &volume, 0, &noise(1, 160 << 20));

    // Five packs at 16 MiB/s: twice as long as the credentials serve.
    let snapshot = person.snapshot(&volume, &["--no-compression", "--bandwidth", "16MiB"]);
    println!("the process was called {} times", calls());
    assert!((3..=12).contains(&calls()), "the process was called {} times", calls());
    // The daemon signed with the new ones.
    let mut both = vec![KEY_ID.to_owned(), server.admin.0.clone()];
    both.sort();
    assert_eq!(wire.access_keys(), both);
    assert_eq!(person.list(), [text(&snapshot["snapshot_id"])]);

    // A command that uploads by itself does the same.
    let local = text(&host.snapshot(&volume, &["--no-compression"])["snapshot_id"]);
    let before = calls();
    let copy = ["snapshot", "copy", &local, "--bandwidth", "16MiB", "--to-store", &url("copied"), "--to-store-profile"];
    host.json(&[&copy[..], &["process"]].concat());
    println!("and by a copy {} times", calls() - before);
    assert!((2..=12).contains(&(calls() - before)), "{} times by a copy", calls() - before);

    // The control: those that last are asked for once by a command that is soon done.
    person.environment = vec![("SECONDS_LEFT", "3600".to_owned())];
    let before = calls();
    person.list();
    assert_eq!(calls() - before, 1);
}

#[test]
fn nothing_on_the_host_is_used_for_a_store_in_s3() {
    let host = Host::new();
    let volume = attached(&host, "64MiB");
    let server = Seaweed::start(&host);
    let person = Person::with_variables(&host, &server, server.endpoint(), "nothing");
    write(&host, &volume, 0, &noise(1, 8 << 20));
    person.snapshot(&volume, &[]);
    assert_eq!(bytes_in(&host.store()), 0);
    // Neither id nor secret stays anywhere below the root, but in the profiles of the local KMS.
    let secret = server.admin.1.as_bytes();
    for (path, _) in harness::snapshots::objects(&host.root().join("volumes")) {
        let bytes = fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{}", path.display());
    }
}
