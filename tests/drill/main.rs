//! A drill takes the key of its own volume away in each way there is, reports what happened, and leaves nothing behind,
//! also when it is refused, interrupted or killed.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

#[path = "../harness/mod.rs"]
mod harness;
mod killed;
mod recovery;
mod yours;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{ENVOL, Host, Ran, ran, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// May use no key by itself.
const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";
const AS_GRANTEE: [&str; 4] = ["--grantee", GRANTEE, "--kms-profile", "envol-volume"];
const SMALL: [&str; 4] = ["--workload", "none", "--size", "64MiB"];

/// The machine may be busy; that the default limits are kept is what a drill on a quiet one shows.
const LIMITS: [&str; 4] = ["--detect-within", "15s", "--purge-within", "30s"];

const DEADLINE: Duration = Duration::from_secs(60);

fn revoke(host: &Host, way: &str, more: &[&[&str]]) -> Ran {
    host.envol(&[&["--json", "drill", "revoke", "--by", way], &LIMITS[..], &more.concat()].concat())
}

#[track_caller]
fn passed(ran: Ran) -> Value {
    let report: Value = serde_json::from_str(&ran.expect_code(0).stdout).unwrap();
    assert_eq!(report["verdict"], "pass", "{report}");
    report
}

fn drills(host: &Host) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.root().join("drills")).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn aws_json(host: &Host, arguments: &[&str]) -> Value {
    let printed = host.aws(&[arguments, &["--output", "json"]].concat()).expect_code(0);
    serde_json::from_str(&printed.stdout).unwrap()
}

fn policy(host: &Host) -> String {
    let key = host.key_id();
    let policy =
        ["get-key-policy", "--key-id", &key, "--policy-name", "default", "--query", "Policy", "--output", "text"];
    host.aws(&policy).expect_code(0).stdout
}

fn state_of(host: &Host, key: &str) -> String {
    aws_json(host, &["describe-key", "--key-id", key])["KeyMetadata"]["KeyState"].as_str().unwrap().to_owned()
}

/// The keys but that of the host itself.
fn other_keys(host: &Host) -> Vec<String> {
    let own = host.key_id();
    let listed = aws_json(host, &["list-keys"]);
    let ids = listed["Keys"].as_array().unwrap().iter().map(|key| key["KeyId"].as_str().unwrap().to_owned());
    ids.filter(|id| {
        *id != own && aws_json(host, &["describe-key", "--key-id", id])["KeyMetadata"]["KeyManager"] == "CUSTOMER"
    })
    .collect()
}

/// Nothing of any drill is left but reports.
#[track_caller]
fn assert_nothing_left(host: &Host) {
    for drill in drills(host) {
        assert!(!drill.join("undo.json").exists(), "{} has its record still", drill.display());
        for name in ["mnt", "work", "restored", "back", "snapshots"] {
            assert!(!drill.join(name).exists(), "{name} is left of {}", drill.display());
        }
        let mark = format!("ENVOL_DRILL={}", drill.file_name().unwrap().to_str().unwrap());
        wait_until("the end of the drill's processes", DEADLINE, || !is_in_an_environment(&mark));
    }
    let volumes = fs::read_dir(host.root().join("volumes")).into_iter().flatten();
    assert_eq!(volumes.count(), 0, "a volume is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(host.root().to_str().unwrap()), "a mount is left");
    assert_eq!(state_of(host, &host.key_id()), "Enabled");
    assert!(!policy(host).contains("EnvolDrill"));
    for key in other_keys(host) {
        assert_eq!(state_of(host, &key), "PendingDeletion", "a key of the drill's own");
    }
}

fn is_in_an_environment(mark: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
    environments.into_iter().any(|text| text.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes()))
}

#[test]
fn a_disabled_key_is_rehearsed_and_the_report_can_be_checked() {
    let host = Host::new();
    let report = passed(revoke(&host, "disable-key", &[&SMALL, &["--kms-key", "alias/test"]]));
    let key = &report["key"];
    assert_eq!((&key["own"], &key["before"]["state"]), (&false.into(), &"Enabled".into()));
    assert_eq!((&key["revoked"]["state"], &key["undone"]["state"]), (&"Disabled".into(), &"Enabled".into()));
    assert_eq!(report["observed"]["read"]["errno"], libc::EIO);
    assert!(report["who"]["drill"].as_str().unwrap().ends_with("user/envol-admin"), "{}", report["who"]);
    assert!(report["recovery"].is_object() && report["recovery_reason"].is_null());
    assert!(report["clock"]["offset_ms"].as_f64().unwrap().abs() < 2000.0, "{}", report["clock"]);
    let calls = report["kms_calls"].as_array().unwrap();
    assert!(calls.iter().all(|call| call["request_id"].is_string()), "{calls:?}");
    let disabled = calls.iter().find(|call| call["operation"] == "DisableKey").unwrap();
    assert_eq!(report["revocation"]["request_id"], disabled["request_id"]);

    let [drill] = &drills(&host)[..] else { panic!("one drill") };
    let checked =
        Command::new("sha256sum").args(["--check", "report.json.sha256"]).current_dir(drill).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let written: Value = serde_json::from_slice(&fs::read(drill.join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);
    let page = fs::read_to_string(drill.join("report.html")).unwrap();
    let sum = fs::read_to_string(drill.join("report.json.sha256")).unwrap();
    assert!(page.contains(sum.split(' ').next().unwrap()));
    assert!(page.contains(report["recovery"]["snapshot_id"].as_str().unwrap()));
    for from_elsewhere in ["http://", "https://", "<script", "<link", "<img", "url("] {
        assert!(!page.contains(from_elsewhere), "the page needs {from_elsewhere}");
    }
    assert_nothing_left(&host);
}

#[test]
fn a_key_that_is_to_be_deleted_is_got_back() {
    let host = Host::new();
    let report = passed(revoke(&host, "schedule-key-deletion", &[&SMALL, &["--kms-key", "alias/test"]]));
    assert_eq!(report["key"]["revoked"]["state"], "PendingDeletion");
    assert_nothing_left(&host);
}

#[test]
fn a_revoked_grant_is_rehearsed_under_a_key_of_its_own() {
    let host = Host::new();
    let report = passed(revoke(&host, "revoke-grant", &[&SMALL, &AS_GRANTEE]));
    assert_eq!(report["key"]["own"], true);
    assert_eq!(report["key"]["before"]["grants"].as_array().unwrap().len(), 1);
    assert_eq!(report["key"]["revoked"]["grants"].as_array().unwrap().len(), 0);
    assert!(report["who"]["volume_service"].as_str().unwrap().ends_with("user/envol-volume"), "{}", report["who"]);
    assert_eq!(other_keys(&host).len(), 1);
    assert_nothing_left(&host);
}

#[test]
fn a_denial_in_the_policy_comes_and_goes_to_the_letter() {
    let host = Host::new();
    let before = policy(&host);
    let report = passed(revoke(&host, "deny-policy", &[&SMALL, &AS_GRANTEE, &["--kms-key", "alias/test"]]));
    let volume = report["volume_id"].as_str().unwrap();
    let revoked = report["key"]["revoked"]["policy"].as_str().unwrap();
    assert!(revoked.contains("EnvolDrill") && revoked.contains(volume), "{revoked}");
    assert_eq!(policy(&host), before);
    assert_nothing_left(&host);
}

#[test]
fn deleted_key_material_is_rehearsed_on_material_of_its_own() {
    let host = Host::new();
    let report = passed(revoke(&host, "delete-key-material", &[&SMALL, &AS_GRANTEE]));
    assert_eq!(report["key"]["revoked"]["state"], "PendingImport");
    assert_nothing_left(&host);
}

#[test]
fn what_would_hurt_is_refused_before_anything_is_made() {
    let host = Host::new();
    let refused = |way: &str, more: &[&str], why: &str| {
        revoke(&host, way, &[&SMALL, more]).expect_code(2).expect_stderr(why);
        assert!(drills(&host).is_empty() && other_keys(&host).is_empty(), "something was made");
    };
    refused("revoke-grant", &[], "--grantee");
    refused("deny-policy", &["--kms-key", "alias/test"], "--grantee");
    refused("delete-key-material", &["--kms-key", "alias/test"], "would be final");
    host.envol(&["drill", "revoke", "--by", "magic"]).expect_code(2);

    let volume = host.create(&["--size", "16MiB"]);
    refused("disable-key", &["--kms-key", "alias/test"], &volume);
    host.envol(&["delete", &volume, "--yes"]).expect_code(0);

    let key = host.key_id();
    let grant = ["create-grant", "--key-id", &key, "--grantee-principal", GRANTEE, "--operations", "Decrypt"];
    host.aws(&grant).expect_code(0);
    refused("disable-key", &["--kms-key", "alias/test"], "--shared-key");
    // The control: with the word it goes on, and what others have stays.
    let report = passed(revoke(&host, "disable-key", &[&SMALL, &["--kms-key", "alias/test", "--shared-key"]]));
    assert_eq!(report["key"]["shared"], true);
    assert_eq!(aws_json(&host, &["list-grants", "--key-id", &key])["Grants"].as_array().unwrap().len(), 1);
    assert_nothing_left(&host);
}

#[test]
fn a_limit_that_is_not_kept_fails_the_drill() {
    let host = Host::new();
    let never = ["--json", "drill", "revoke", "--by", "disable-key", "--detect-within", "1ms", "--purge-within", "30s"];
    let failed = host.envol(&[&never[..], &SMALL].concat()).expect_code(1).expect_stderr("detected");
    let report: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(report["verdict"], "fail");
    assert_nothing_left(&host);
}

/// A drill that is under way.
struct Running(Child);

impl Running {
    fn start(host: &Host, arguments: &[&str]) -> Self {
        let mut command = host.command(ENVOL);
        command.arg("--root").arg(host.root()).args(["drill", "revoke"]).args(LIMITS).args(arguments);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Until the undo record has such a step.
    fn wait_for(&self, host: &Host, step: &str) {
        self.wait_for_several(host, step, 1);
    }

    fn wait_for_several(&self, host: &Host, step: &str, least: usize) {
        let step = format!("\"step\": \"{step}\"");
        let count =
            |drill: &Path| fs::read_to_string(drill.join("undo.json")).unwrap_or_default().matches(&step).count();
        wait_until(&step, DEADLINE, || drills(host).iter().any(|drill| count(drill) >= least));
    }

    fn wait(&mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap_or(-1)
    }

    fn signal(&mut self, signal: Signal) -> i32 {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        self.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_next_command_finishes_and_an_outage_of_kms_does_not_fail_it() {
    let host = Host::new();
    let arguments =
        [&["--by", "disable-key", "--kms-key", "alias/test", "--probe-interval", "20s"], &SMALL[..]].concat();
    let mut drill = Running::start(&host, &arguments);
    drill.wait_for(&host, "key-state");
    wait_until("the key to be disabled", DEADLINE, || state_of(&host, "alias/test") == "Disabled");
    drill.signal(Signal::KILL);
    host.end_kms();
    host.envol(&["list"]).expect_code(0).expect_stderr("envol drill undo");
    host.envol(&["drill", "undo"]).expect_code(1);
    host.start_kms();
    host.envol(&["list"]).expect_code(0).expect_stderr("is undone");
    assert_nothing_left(&host);
    assert_eq!(host.envol(&["list"]).expect_code(0).stderr, "");
}

#[test]
fn ctrl_c_undoes_and_says_so() {
    let host = Host::new();
    let arguments =
        [&["--by", "disable-key", "--kms-key", "alias/test", "--probe-interval", "20s"], &SMALL[..]].concat();
    let mut drill = Running::start(&host, &arguments);
    drill.wait_for(&host, "key-state");
    let left_alone = host.envol(&["drill", "undo"]).expect_code(0);
    assert!(left_alone.stdout.contains("left alone"), "{}", left_alone.stdout);
    wait_until("the key to be disabled", DEADLINE, || state_of(&host, "alias/test") == "Disabled");
    assert_eq!(drill.signal(Signal::INT), 130);
    assert_nothing_left(&host);
}

#[test]
fn what_others_changed_in_the_policy_meanwhile_stays() {
    let host = Host::new();
    let arguments =
        [&["--by", "deny-policy", "--kms-key", "alias/test", "--confirm-denial", "20s"], &SMALL[..], &AS_GRANTEE]
            .concat();
    let mut drill = Running::start(&host, &arguments);
    drill.wait_for(&host, "policy");
    wait_until("the denial", DEADLINE, || policy(&host).contains("EnvolDrill"));
    let mut changed: Value = serde_json::from_str(&policy(&host)).unwrap();
    changed["Id"] = "changed-meanwhile".into();
    let key = host.key_id();
    let put = ["put-key-policy", "--key-id", &key, "--policy-name", "default", "--policy", &changed.to_string()];
    host.aws(&put).expect_code(0);
    assert_eq!(drill.signal(Signal::TERM), 130);
    assert!(policy(&host).contains("changed-meanwhile"));
    assert_nothing_left(&host);
}

#[test]
fn a_record_of_nothing_is_no_reason_to_stop() {
    let host = Host::new();
    let undone = ran(&host.command(ENVOL).arg("--root").arg(host.root()).args(["drill", "undo"]).output().unwrap());
    assert!(undone.expect_code(0).stdout.contains("nothing to undo"));
    fs::create_dir_all(host.root().join("drills/drill-1")).unwrap();
    fs::write(host.root().join("drills/drill-1/undo.json"), "{").unwrap();
    host.envol(&["list"]).expect_code(0).expect_stderr("no undo record");
    host.envol(&["drill", "undo"]).expect_code(1).expect_stderr("no undo record");
}
