//! A volume moves to another KMS key without its data being touched; wherever that is cut short the volume attaches, and the same
//! command finishes.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use envol::format::{HEADER_LEN, HeaderCopy, SUPERBLOCK_LEN};
use harness::{Host, Ran, data_of, ran, wait_until};
use serde_json::Value;

const DATA: &[u8] = b"written under the first key";
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";
const AS_GRANTEE: [&str; 2] = ["--kms-profile", "envol-volume"];
/// One probe, its confirmation, and a busy machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// The ARN of one more key.
fn new_key(host: &Host) -> String {
    let made = host.aws(&["create-key", "--query", "KeyMetadata.Arn", "--output", "text"]).expect_code(0);
    made.stdout.trim().to_owned()
}

fn disable(host: &Host, key: &str) {
    host.aws(&["disable-key", "--key-id", key]).expect_code(0);
}

fn attach(host: &Host, volume: &str, more: &[&str]) -> Ran {
    let quickly = ["--probe-interval", "1s", "--confirm-denial", "500ms"];
    host.envol(&[&["attach", volume, "--raw"], &quickly[..], more].concat())
}

fn detach(host: &Host, volume: &str) {
    host.envol(&["detach", volume]).expect_code(0);
}

fn write(host: &Host, volume: &str) {
    let image = File::options().write(true).open(host.image(volume)).unwrap();
    image.write_all_at(DATA, 5000).unwrap();
    image.sync_all().unwrap();
}

#[track_caller]
fn assert_data(host: &Host, volume: &str) {
    let mut bytes = vec![0; DATA.len()];
    File::open(host.image(volume)).unwrap().read_exact_at(&mut bytes, 5000).unwrap();
    assert_eq!(bytes, DATA);
}

/// Detached, with data in it.
fn written_volume(host: &Host, create: &[&str], serve: &[&str]) -> String {
    let volume = host.create(&[&["--size", "16MiB"], create].concat());
    attach(host, &volume, serve).expect_code(0);
    write(host, &volume);
    detach(host, &volume);
    volume
}

fn rewrap<'a>(volume: &'a str, key: &'a str) -> [&'a str; 4] {
    ["rewrap", volume, "--kms-key", key]
}

fn binding_path(host: &Host, volume: &str) -> PathBuf {
    host.root().join("volumes").join(volume).join("binding.json")
}

fn binding(host: &Host, volume: &str) -> Value {
    serde_json::from_slice(&fs::read(binding_path(host, volume)).unwrap()).unwrap()
}

fn generation(host: &Host, volume: &str) -> u64 {
    host.json(&["inspect", host.backing(volume).to_str().unwrap()])["key_generation"].as_u64().unwrap()
}

/// How many grants the volume has on a key.
fn grants(host: &Host, key: &str) -> usize {
    let listed = host.aws(&["list-grants", "--key-id", key, "--output", "json"]).expect_code(0);
    serde_json::from_str::<Value>(&listed.stdout).unwrap()["Grants"].as_array().unwrap().len()
}

/// What lies behind the header: map and blocks.
fn body(host: &Host, volume: &str) -> Vec<(u64, Vec<u8>)> {
    data_of(&host.backing(volume)).into_iter().filter(|(offset, _)| *offset >= HEADER_LEN).collect()
}

#[test]
fn a_detached_volume_goes_to_another_key_and_the_old_one_is_not_needed_any_more() {
    let host = Host::new();
    let volume = written_volume(&host, &[], &[]);
    let (old, new, before) = (host.key_id(), new_key(&host), body(&host, &volume));
    let rewrapped = host.json(&rewrap(&volume, &new));
    assert_eq!((&rewrapped["kms_key"], &rewrapped["key_generation"]), (&new.as_str().into(), &2.into()));
    assert!(rewrapped["from_kms_key"].as_str().unwrap().ends_with(&old));
    assert_eq!(body(&host, &volume), before, "the data was touched");
    assert_eq!(host.status(&volume)["kms_key"], new.as_str());
    disable(&host, &old);
    attach(&host, &volume, &[]).expect_code(0);
    assert_data(&host, &volume);
    // The control: the new key is what counts.
    disable(&host, &new);
    wait_until("terminal", DEADLINE, || host.status(&volume)["state"] == "terminal");
    host.envol(&rewrap(&volume, "alias/test")).expect_code(6);
}

#[test]
fn an_attached_volume_goes_while_it_is_read_and_its_guardian_asks_the_new_key() {
    let host = Host::new();
    let dir = host.directory("mnt");
    let volume = host.create(&["--size", "64MiB"]);
    let attach = ["attach", &volume, dir.to_str().unwrap(), "--probe-interval", "1s", "--confirm-denial", "500ms"];
    host.envol(&attach).expect_code(0);
    fs::write(dir.join("greeting"), DATA).unwrap();
    let (old, new) = (host.key_id(), new_key(&host));
    let pid = host.daemon_pid(&volume);
    host.envol(&rewrap(&volume, &new)).expect_code(0);
    assert_eq!(host.daemon_pid(&volume), pid, "served by the same daemon");
    assert_eq!((generation(&host, &volume), host.status(&volume)["kms_key"].as_str()), (2, Some(new.as_str())));
    disable(&host, &old);
    let verified_at = || host.status(&volume)["verified_at"].as_str().unwrap_or_default().to_owned();
    for _ in 0..2 {
        let before = verified_at();
        wait_until("a probe", DEADLINE, || verified_at() > before);
    }
    assert_eq!(host.status(&volume)["state"], "in-use");
    assert_eq!(fs::read(dir.join("greeting")).unwrap(), DATA);
    // A snapshot is taken under the new key, and a second rewrap goes on from there.
    host.envol(&["snapshot", "create", &volume]).expect_code(0);
    host.aws(&["enable-key", "--key-id", &old]).expect_code(0);
    host.envol(&rewrap(&volume, "alias/test")).expect_code(0);
    assert_eq!(generation(&host, &volume), 3);
    disable(&host, &old);
    wait_until("terminal", DEADLINE, || host.status(&volume)["state"] == "terminal");
    assert_eq!(host.status(&volume)["cause"], "key-disabled");
}

#[test]
fn the_grant_goes_along_and_the_old_one_is_retired() {
    let host = Host::new();
    let volume = written_volume(&host, &["--grantee", GRANTEE, "--kms-profile", "envol-volume"], &AS_GRANTEE);
    let (old, new) = (host.key_id(), new_key(&host));
    for (attached, to, from) in [(false, &new, &old), (true, &old, &new)] {
        if attached {
            attach(&host, &volume, &AS_GRANTEE).expect_code(0);
        }
        let before = host.status(&volume)["grant_id"].clone();
        let with = [&rewrap(&volume, to)[..], &AS_GRANTEE].concat();
        let rewrapped = host.json(&with);
        assert_ne!(rewrapped["grant_id"], before);
        assert_eq!((grants(&host, to), grants(&host, from)), (1, 0), "attached: {attached}");
        assert!(binding(&host, &volume)["left"].is_null());
        if attached {
            assert_data(&host, &volume);
            host.aws(&["revoke-grant", "--key-id", to, "--grant-id", rewrapped["grant_id"].as_str().unwrap()])
                .expect_code(0);
            wait_until("terminal", DEADLINE, || host.status(&volume)["state"] == "terminal");
        }
    }
}

#[test]
fn a_new_key_that_the_volume_service_cannot_use_is_refused_and_everything_is_as_before() {
    let host = Host::new();
    // By the key's policy, as an administrator who forgot the volume service would have it.
    let volume = written_volume(&host, &["--grantee", GRANTEE, "--kms-profile", "envol-volume"], &AS_GRANTEE);
    let new = new_key(&host);
    let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" }, "Action": "kms:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": { "AWS": GRANTEE }, "Action": "kms:Decrypt", "Resource": "*" },
    ] });
    let put = |policy: &str| {
        host.aws(&["put-key-policy", "--key-id", &new, "--policy", policy]).expect_code(0);
    };
    put(&policy.to_string());
    let with = [&rewrap(&volume, &new)[..], &AS_GRANTEE].concat();
    for attached in [false, true] {
        if attached {
            attach(&host, &volume, &AS_GRANTEE).expect_code(0);
        }
        let before = (data_of(&host.backing(&volume)), binding(&host, &volume));
        host.envol(&with).expect_code(4).expect_stderr("kms:Decrypt").expect_stderr("AccessDenied");
        assert_eq!((data_of(&host.backing(&volume)), binding(&host, &volume)), before);
        assert_eq!(grants(&host, &new), 0, "the grant on the new key is left");
    }
    detach(&host, &volume);
    put(&policy.to_string().replace("kms:Decrypt", "kms:Sign"));
    host.envol(&with).expect_code(0);
    attach(&host, &volume, &AS_GRANTEE).expect_code(0);
    assert_data(&host, &volume);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing() {
    let host = Host::new();
    let volume = written_volume(&host, &[], &[]);
    let new = new_key(&host);
    let image = || data_of(&host.backing(&volume));
    let before = image();
    let refused = |key: &str, code: i32, why: &str| {
        host.envol(&rewrap(&volume, key)).expect_code(code).expect_stderr(why);
        assert_eq!(image(), before, "{key}");
    };
    refused("alias/nothing", 4, "NotFoundException");
    refused(&new.replace("us-east-1", "eu-west-1"), 2, "one Region only");
    refused("", 2, "--kms-key");
    host.envol(&rewrap("vol-nothing", &new)).expect_code(3);
    disable(&host, &new);
    refused(&new, 4, "DisabledException");
    host.aws(&["enable-key", "--key-id", &new]).expect_code(0);
    // The key where it is, too.
    host.disable_key();
    refused(&new, 4, "DisabledException");
    host.enable_key();

    // Whoever asks may not.
    let mut as_nobody = host.command(harness::ENVOL);
    as_nobody.env("AWS_PROFILE", "envol-volume").arg("--root").arg(host.root()).args(rewrap(&volume, &new));
    ran(&as_nobody.output().unwrap()).expect_code(4).expect_stderr("is missing for").expect_stderr("AccessDenied");
    let statement = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" }, "Action": "kms:*", "Resource": "*" },
        { "Effect": "Deny", "Principal": { "AWS": "*" }, "Action": "kms:ReEncryptTo", "Resource": "*" },
    ] });
    host.aws(&["put-key-policy", "--key-id", &new, "--policy", &statement.to_string()]).expect_code(0);
    refused(&new, 4, "kms:ReEncryptTo");

    // The control, and the key where it is.
    let allowed = statement.to_string().replace("kms:ReEncryptTo", "kms:Sign");
    host.aws(&["put-key-policy", "--key-id", &new, "--policy", &allowed]).expect_code(0);
    host.envol(&rewrap(&volume, &new)).expect_code(0);
    let there = host.json(&rewrap(&volume, &new));
    assert!(there["from_kms_key"].is_null());
    assert_eq!(there["key_generation"], 2);
}

/// Starts the command with the KMS operation so slow that it waits there, until `reached`; then kills it.
fn cut(host: &Host, command: &[&str], operation: &str, reached: impl FnMut() -> bool) {
    host.envol(&["kms", "fault", "latency", "60s", "--operation", operation]).expect_code(0);
    let mut child = spawn(host, command);
    wait_until("the step", DEADLINE, reached);
    child.kill().unwrap();
    child.wait().unwrap();
    host.envol(&["kms", "fault", "clear"]).expect_code(0);
}

fn spawn(host: &Host, command: &[&str]) -> Child {
    let mut envol = host.command(harness::ENVOL);
    envol.arg("--root").arg(host.root()).args(command).stdout(Stdio::null()).stderr(Stdio::null());
    envol.spawn().unwrap()
}

/// How often an operation was performed.
fn performed(host: &Host, operation: &str) -> usize {
    let audit = host.envol(&["--json", "kms", "audit"]).expect_code(0).stdout;
    let records = audit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["eventName"] == operation && record["errorCode"].is_null()).count()
}

#[test]
fn a_rewrap_that_is_killed_at_any_step_leaves_a_volume_that_attaches_and_a_repeat_finishes_it() {
    let host = Host::new();
    for step in ["ReEncrypt", "a grant unheard of", "Decrypt", "between the copies", "after the header", "RetireGrant"]
    {
        let volume = written_volume(&host, &["--grantee", GRANTEE, "--kms-profile", "envol-volume"], &AS_GRANTEE);
        let (old, new) = (host.key_id(), new_key(&host));
        let command = [&rewrap(&volume, &new)[..], &AS_GRANTEE].concat();
        let has_next = || binding(&host, &volume)["next"]["kms_key"] == new.as_str();
        match step {
            "ReEncrypt" => {
                let asked = performed(&host, "DescribeKey");
                cut(&host, &command, step, || performed(&host, "DescribeKey") > asked);
                assert!(!has_next());
            }
            // Killed before it heard of the grant that it had asked for.
            "a grant unheard of" => {
                let constraints = format!("EncryptionContextSubset={{aws:rds:db-id=db-TEST,aws:ebs:id={volume}}}");
                let words = ["--grantee-principal", GRANTEE, "--operations", "Decrypt", "DescribeKey", "RetireGrant"];
                let words = [&words[..], &["--constraints", &constraints, "--name", &volume]].concat();
                host.aws(&[&["create-grant", "--key-id", &new][..], &words].concat()).expect_code(0);
                assert_eq!(grants(&host, &new), 1);
            }
            "Decrypt" => cut(&host, &command, step, has_next),
            "RetireGrant" => cut(&host, &command, step, || !binding(&host, &volume)["left"].is_null()),
            // A write of the header takes no time in which to be cut: what each leaves is put there.
            written => {
                let backing = host.backing(&volume);
                let image = File::options().read(true).write(true).open(&backing).unwrap();
                let header = |copy: HeaderCopy| {
                    let mut bytes = vec![0; SUPERBLOCK_LEN];
                    image.read_exact_at(&mut bytes, copy.superblock_offset()).unwrap();
                    bytes
                };
                cut(&host, &command, "Decrypt", has_next);
                let (on_the_way, before) = (fs::read(binding_path(&host, &volume)).unwrap(), header(HeaderCopy::A));
                // Done as far as the grant, so that the old one is still there.
                cut(&host, &command, "RetireGrant", || !binding(&host, &volume)["left"].is_null());
                assert!(header(HeaderCopy::A) == header(HeaderCopy::B) && header(HeaderCopy::A) != before);
                fs::write(binding_path(&host, &volume), on_the_way).unwrap();
                if written == "between the copies" {
                    image.write_all_at(&before, HeaderCopy::A.superblock_offset()).unwrap();
                }
            }
        }
        attach(&host, &volume, &AS_GRANTEE).expect_code(0);
        assert_data(&host, &volume);
        detach(&host, &volume);

        host.envol(&command).expect_code(0);
        let binding = binding(&host, &volume);
        assert_eq!(binding["kms_key"], new.as_str(), "{step}");
        assert!(binding["next"].is_null() && binding["left"].is_null(), "{step}: {binding}");
        assert_eq!((generation(&host, &volume), grants(&host, &new), grants(&host, &old)), (2, 1, 0), "{step}");
        disable(&host, &old);
        attach(&host, &volume, &AS_GRANTEE).expect_code(0);
        assert_data(&host, &volume);
        detach(&host, &volume);
        host.enable_key();
    }
}

#[test]
fn a_daemon_that_is_killed_in_a_rewrap_leaves_a_volume_that_attaches_and_a_repeat_finishes_it() {
    let host = Host::new();
    let volume = written_volume(&host, &[], &[]);
    let new = new_key(&host);
    host.envol(&["attach", &volume, "--raw"]).expect_code(0);
    host.envol(&["kms", "fault", "latency", "60s", "--operation", "Decrypt"]).expect_code(0);
    let mut command = spawn(&host, &rewrap(&volume, &new));
    wait_until("the step", DEADLINE, || binding(&host, &volume)["next"]["kms_key"] == new.as_str());
    host.kill_daemon(&volume);
    assert!(!command.wait().unwrap().success());
    host.envol(&["kms", "fault", "clear"]).expect_code(0);
    attach(&host, &volume, &[]).expect_code(0);
    assert_data(&host, &volume);
    host.envol(&rewrap(&volume, &new)).expect_code(0);
    assert_eq!(generation(&host, &volume), 2);
    assert!(binding(&host, &volume)["next"].is_null());
}
