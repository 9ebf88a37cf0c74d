//! What `create --grantee`, `attach` and `delete` ask of KMS, as whom and in which order, and what they say to a refusal.
//! The KMS here enforces nothing: `tests/grants.rs` has one that does.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use harness::scripted_kms::{Asked, GRANT_ID, GRANT_TOKEN, KEY, ScriptedKms};
use harness::{ENVOL, Ran, ran, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

const GRANTEE: &str = "arn:aws:iam::111122223333:user/envol-volume";

/// A root directory, a KMS, and two profiles: `admin`, who types, and `volume`.
struct Scene {
    root: TempDir,
    kms: ScriptedKms,
}

impl Scene {
    fn new() -> Self {
        let kms = ScriptedKms::start();
        let root = TempDir::new().unwrap();
        let profile = |name: &str, access_key: &str| {
            format!(
                "[profile {name}]\nregion = us-east-1\nendpoint_url = http://{}\naws_access_key_id = {access_key}\n\
                 aws_secret_access_key = secret\n",
                kms.address
            )
        };
        fs::write(root.path().join("config"), profile("admin", "ADMIN") + &profile("volume", "VOLUME")).unwrap();
        Self { root, kms }
    }

    fn envol(&self, arguments: &[&str]) -> Ran {
        self.envol_as("admin", arguments)
    }

    fn envol_as(&self, profile: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new(ENVOL);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command
            .env("AWS_CONFIG_FILE", self.root.path().join("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", self.root.path().join("credentials"))
            .env("AWS_PROFILE", profile)
            .arg("--root")
            .arg(self.root.path())
            .args(arguments);
        ran(&command.output().unwrap())
    }

    fn create(&self, id: &str, more: &[&str]) -> Ran {
        let mut arguments = vec!["-vv", "create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/orders"];
        arguments.extend(["--id", id]);
        arguments.extend(more);
        self.envol(&arguments)
    }

    /// With a grant and the profile of its grantee.
    fn create_granted(&self, id: &str) -> Ran {
        self.create(id, &["--grantee", GRANTEE, "--kms-profile", "volume"])
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.envol(&[&["--json"], arguments].concat()).expect_code(0);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// An attached volume has its name on the whole host: the port makes it this scene's own.
    fn id(&self, name: &str) -> String {
        format!("vol-{name}-{}", self.kms.address.port())
    }

    fn volume_dir(&self, id: &str) -> std::path::PathBuf {
        self.root.path().join("volumes").join(id)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.root.path().join("volumes")).into_iter().flatten().flatten() {
            let _ = self.envol(&["detach", entry.file_name().to_str().unwrap(), "--force"]);
        }
    }
}

fn calls(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(|asked| format!("{} {}", asked.access_key, asked.name())).collect()
}

#[test]
fn create_asks_before_it_makes_and_only_the_grantee_unwraps() {
    let scene = Scene::new();
    scene.create_granted("vol-granted").expect_code(0);
    let asked = scene.kms.asked();
    let with_grant = [
        "ADMIN DescribeKey",
        "ADMIN CreateGrant dry",
        "ADMIN GenerateDataKeyWithoutPlaintext",
        "ADMIN GenerateDataKeyWithoutPlaintext",
        "ADMIN CreateGrant",
        "VOLUME Decrypt with token",
    ];
    assert_eq!(calls(&asked), with_grant);
    for grant in [&asked[1].body, &asked[4].body] {
        assert_eq!(grant["KeyId"], KEY);
        assert_eq!(grant["GranteePrincipal"], GRANTEE);
        assert_eq!(grant["Operations"], json!(["Decrypt", "DescribeKey", "RetireGrant"]));
        let context = json!({ "aws:rds:db-id": "db-A", "aws:ebs:id": "vol-granted" });
        assert_eq!(grant["Constraints"], json!({ "EncryptionContextSubset": context }));
        assert_eq!(grant["Name"], "vol-granted");
    }

    // Without --grantee nobody speaks of grants.
    scene.create("vol-bare", &[]).expect_code(0);
    let without_grant = [
        "ADMIN DescribeKey",
        "ADMIN GenerateDataKeyWithoutPlaintext",
        "ADMIN GenerateDataKeyWithoutPlaintext",
        "ADMIN Decrypt",
    ];
    assert_eq!(calls(&scene.kms.asked()), without_grant);
}

#[test]
fn a_server_without_dry_runs_makes_no_difference_but_one_call() {
    let scene = Scene::new();
    scene.kms.ignore_dry_run();
    scene.create_granted("vol-A").expect_code(0);
    let asked = calls(&scene.kms.asked());
    assert_eq!(asked[1..3], ["ADMIN CreateGrant dry", "ADMIN RetireGrant"], "what it made is taken back");
    assert_eq!(asked[5..], ["ADMIN CreateGrant", "VOLUME Decrypt with token"]);
}

#[test]
fn a_grantee_that_is_no_principal_is_refused_before_any_call() {
    let scene = Scene::new();
    for grantee in ["", "envol-volume", "arn:aws:iam::111122223333:group/x", "arn:aws:iam::1:user/x", KEY] {
        scene.create("vol-A", &["--grantee", grantee]).expect_code(2).expect_stderr("--grantee");
    }
    assert_eq!(calls(&scene.kms.asked()), [""; 0]);
    assert!(!scene.root.path().join("volumes").exists());
    scene.create("vol-A", &["--grantee", "arn:aws:sts::111122223333:assumed-role/envol/i-0c9d"]).expect_code(0);
}

#[test]
fn a_missing_permission_is_named_with_who_lacks_it_and_nothing_is_made() {
    let scene = Scene::new();
    let caller = "missing for whoever runs `envol create`";
    for (refused, permission, who, retired) in [
        ("DescribeKey", "kms:DescribeKey on alias/orders", caller, false),
        ("CreateGrant dry", &format!("kms:CreateGrant on {KEY}"), caller, false),
        ("GenerateDataKeyWithoutPlaintext", &format!("kms:GenerateDataKeyWithoutPlaintext on {KEY}"), caller, false),
        ("CreateGrant", &format!("kms:CreateGrant on {KEY}"), caller, false),
        ("Decrypt with token", &format!("kms:Decrypt on {KEY}"), "missing for the profile `volume`", true),
    ] {
        scene.kms.allow_all();
        scene.kms.refuse(refused, "AccessDeniedException");
        let ran = scene.create_granted("vol-A").expect_code(4).expect_stderr(permission).expect_stderr(who);
        let ran = ran.expect_stderr("docs/aws.md").expect_stderr(&format!("in AWS's words: {refused}"));
        let ran = ran.expect_stderr("Nothing was changed");
        assert!(!ran.stderr.contains(GRANT_TOKEN), "{}", ran.stderr);
        let asked = calls(&scene.kms.asked());
        assert_eq!(asked.last().unwrap() == "VOLUME RetireGrant", retired, "{refused}: {asked:?}");
        assert!(!scene.volume_dir("vol-A").exists(), "{refused}");
    }
    scene.kms.allow_all();
    scene.create_granted("vol-A").expect_code(0);

    // Whose permission it is without a profile.
    scene.kms.refuse("Decrypt", "AccessDeniedException");
    scene.create("vol-B", &[]).expect_code(4).expect_stderr("kms:Decrypt").expect_stderr(caller);
}

#[test]
fn a_grant_that_cannot_be_taken_back_is_named_with_the_command_that_revokes_it() {
    let scene = Scene::new();
    let command = format!("aws kms revoke-grant --region us-east-1 --key-id {KEY} --grant-id {GRANT_ID}");
    scene.kms.refuse("Decrypt with token", "AccessDeniedException");
    scene.kms.refuse("RetireGrant", "AccessDeniedException");
    let ran = scene.create_granted("vol-A").expect_code(4).expect_stderr("kms:Decrypt").expect_stderr(&command);
    assert!(!ran.stderr.contains("Nothing was changed") && !ran.stderr.contains(GRANT_TOKEN), "{}", ran.stderr);

    // The same when it is not KMS that fails: somebody else is making this volume.
    scene.kms.allow_all();
    scene.kms.refuse("RetireGrant", "AccessDeniedException");
    let under_way = scene.volume_dir(".creating-vol-B");
    fs::create_dir_all(&under_way).unwrap();
    let image = File::create(under_way.join("backing")).unwrap();
    rustix::fs::flock(&image, rustix::fs::FlockOperation::LockExclusive).unwrap();
    scene.create_granted("vol-B").expect_code(8).expect_stderr(&command);
    scene.kms.allow_all();
    let ran = scene.create_granted("vol-B").expect_code(8);
    assert!(!ran.stderr.contains("revoke-grant"), "{}", ran.stderr);
    assert_eq!(calls(&scene.kms.asked()).last().unwrap(), "VOLUME RetireGrant");
}

#[test]
fn delete_retires_the_grant_or_says_that_it_stands() {
    let scene = Scene::new();
    for (refused, warned) in [(None, false), (Some("AccessDeniedException"), true), (Some("NotFoundException"), false)]
    {
        scene.kms.allow_all();
        scene.create_granted("vol-A").expect_code(0);
        scene.kms.asked();
        if let Some(code) = refused {
            scene.kms.refuse("RetireGrant", code);
        }
        let ran = scene.envol(&["delete", "vol-A", "--yes"]).expect_code(0);
        let command = format!("aws kms revoke-grant --region us-east-1 --key-id {KEY} --grant-id {GRANT_ID}");
        assert_eq!(ran.stderr.contains(&command), warned, "{refused:?}: {}", ran.stderr);
        assert!(!scene.volume_dir("vol-A").exists());
        let asked = scene.kms.asked();
        assert_eq!(asked[0].access_key, "ADMIN");
        assert_eq!((&asked[0].body["GrantId"], &asked[0].body["KeyId"]), (&json!(GRANT_ID), &json!(KEY)));
        // So new that only its token is known, or gone.
        let by_token = asked.get(1).map(|asked| asked.body["GrantToken"].clone());
        assert_eq!(by_token.is_some(), refused == Some("NotFoundException"), "{refused:?}");
    }
    // A volume without one: nothing to ask.
    scene.create("vol-B", &[]).expect_code(0);
    scene.kms.asked();
    scene.envol(&["delete", "vol-B", "--yes"]).expect_code(0);
    assert_eq!(calls(&scene.kms.asked()), [""; 0]);
}

#[test]
fn the_grant_is_shown_by_its_id_and_never_by_its_token() {
    let scene = Scene::new();
    let created = scene.create_granted("vol-granted").expect_code(0);
    scene.create("vol-bare", &[]).expect_code(0);
    let backing = |id: &str| scene.volume_dir(id).join("backing").to_str().unwrap().to_owned();
    let (granted, bare) = (backing("vol-granted"), backing("vol-bare"));
    for (with, without) in
        [(["status", "vol-granted"], ["status", "vol-bare"]), (["inspect", &granted], ["inspect", &bare])]
    {
        assert_eq!(scene.json(&with)["grant_id"], GRANT_ID);
        assert_eq!(scene.json(&without)["grant_id"], Value::Null);
        let line = |arguments: &[&str]| {
            let text = scene.envol(arguments).expect_code(0).stdout;
            text.lines().find(|line| line.starts_with("grant")).map(str::to_owned)
        };
        assert!(line(&with).unwrap().ends_with(GRANT_ID));
        assert_eq!(line(&without), None);
        assert!(!scene.envol(&with).stdout.contains(GRANT_TOKEN));
    }
    // A copy elsewhere is not known to have one.
    let copy = scene.root.path().join("copy");
    fs::copy(&granted, &copy).unwrap();
    assert_eq!(scene.json(&["inspect", copy.to_str().unwrap()])["grant_id"], Value::Null);
    assert!(!created.stderr.contains(GRANT_TOKEN) && !created.stdout.contains(GRANT_TOKEN));
}

#[test]
fn a_binding_from_before_there_were_grants_is_read() {
    let scene = Scene::new();
    let volume = &scene.id("A");
    scene.create_granted(volume).expect_code(0);
    let binding = scene.volume_dir(volume).join("binding.json");
    assert!(fs::read_to_string(&binding).unwrap().contains(GRANT_TOKEN), "the token is kept");
    fs::write(&binding, json!({ "kms_key": KEY }).to_string()).unwrap();
    assert_eq!(scene.json(&["status", volume])["grant_id"], Value::Null);
    scene.kms.asked();
    scene.envol(&["attach", volume, "--raw", "--kms-profile", "volume"]).expect_code(0);
    assert_eq!(calls(&scene.kms.asked())[0], "VOLUME Decrypt");
    scene.envol(&["detach", volume]).expect_code(0);
    // But not one that was damaged.
    fs::write(&binding, json!({ "kms_key": KEY, "grant": { "id": GRANT_ID } }).to_string()).unwrap();
    scene.envol(&["attach", volume, "--raw", "--kms-profile", "volume"]).expect_code(7).expect_stderr("binding.json");
}

/// Attached with a grant, and probed every 100 ms.
fn attached() -> (Scene, String) {
    let scene = Scene::new();
    let volume = scene.id("A");
    scene.create_granted(&volume).expect_code(0);
    scene.kms.asked();
    let attach = ["attach", &volume, "--raw", "--kms-profile", "volume", "--probe-interval", "100ms"];
    scene.envol(&[&["-vv"], &attach[..], &["--confirm-denial", "100ms"]].concat()).expect_code(0);
    (scene, volume)
}

fn wait_for_probes(scene: &Scene, name: &str, count: usize) {
    let mut seen = 0;
    wait_until("probing", Duration::from_secs(30), || {
        seen += scene.kms.asked().iter().filter(|asked| asked.name() == name).count();
        seen >= count
    });
}

#[test]
fn attach_and_each_probe_show_the_token() {
    let (scene, volume) = attached();
    let volume = volume.as_str();
    wait_for_probes(&scene, "Decrypt with token", 3);
    let asked = scene.kms.asked();
    assert!(
        asked.iter().all(|asked| asked.name() == "Decrypt with token" && asked.access_key == "VOLUME"),
        "{asked:?}"
    );
    assert_eq!(scene.json(&["status", volume])["state"], "in-use");
    let log = fs::read_to_string(scene.volume_dir(volume).join("daemon.log")).unwrap();
    assert!(!log.contains(GRANT_TOKEN), "{log}");
}

#[test]
fn a_denial_under_a_grant_names_the_grant() {
    let (scene, volume) = attached();
    let volume = volume.as_str();
    wait_for_probes(&scene, "Decrypt with token", 1);
    scene.kms.refuse("Decrypt with token", "AccessDeniedException");
    wait_until("terminal", Duration::from_secs(30), || scene.json(&["status", volume])["state"] == "terminal");
    let status = scene.json(&["status", volume]);
    assert_eq!(status["cause"], "access-denied");
    assert!(status["detail"].as_str().unwrap().contains(&format!("grant {GRANT_ID}")), "{status}");
    // And at attach, of another volume that is not terminal.
    let other = &scene.id("B");
    scene.create(other, &["--grantee", GRANTEE]).expect_code(4);
    scene.kms.allow_all();
    scene.create_granted(other).expect_code(0);
    scene.kms.refuse("Decrypt with token", "AccessDeniedException");
    let attach = ["attach", other, "--raw", "--kms-profile", "volume"];
    let refused = scene.envol(&attach).expect_code(4).expect_stderr("missing for the profile `volume`");
    refused.expect_stderr("kms:Decrypt").expect_stderr(GRANT_ID).expect_stderr("docs/aws.md");
    scene.kms.allow_all();
    scene.envol(&attach).expect_code(0);
}

/// What AWS says to the token of a grant that is gone is not documented.
#[test]
fn a_token_that_kms_does_not_take_decides_nothing() {
    let (scene, volume) = attached();
    let volume = volume.as_str();
    scene.kms.refuse("Decrypt with token", "InvalidGrantTokenException");
    wait_for_probes(&scene, "Decrypt", 3);
    assert_eq!(scene.json(&["status", volume])["state"], "in-use", "without the token it is allowed");
    scene.kms.refuse("Decrypt", "AccessDeniedException");
    wait_until("terminal", Duration::from_secs(30), || scene.json(&["status", volume])["state"] == "terminal");
}
