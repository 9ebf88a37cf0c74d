//! A copy is under the key that was asked for and needs nothing of its source; a share opens its own snapshot to one other
//! principal, and nothing else.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use harness::snapshots::{bytes_in, content, noise, objects, unaccounted, write};
use harness::{ENVOL, Host, Ran, ran, wait_until};
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// Of another account.
const BOB: &str = "arn:aws:iam::444455556666:user/bob";
const AS_BOB: &str = "bob-444455556666";
const BOBS_ACCOUNT: &str = "444455556666";

/// A volume of some noise, attached.
struct Scene {
    host: Host,
    volume: String,
}

impl Scene {
    fn of(mib: u64) -> Self {
        let host = Host::new();
        let volume = host.create(&["--size", &format!("{}MiB", mib + 16)]);
        host.envol(&["attach", &volume, "--raw"]).expect_code(0);
        write(&host, &volume, 0, &noise(1, usize::try_from(mib * MIB).unwrap()));
        Self { host, volume }
    }

    fn content(&self) -> Vec<(u64, u64)> {
        content(&self.host.image(&self.volume))
    }

    fn snapshot(&self) -> String {
        id(&self.host.snapshot(&self.volume, &[]))
    }

    /// Another KMS key; its id. With a policy of its own, if one is given.
    fn new_key(&self, policy: Option<&Value>) -> String {
        let policy = policy.map(ToString::to_string);
        let mut create = vec!["create-key", "--query", "KeyMetadata.Arn", "--output", "text"];
        create.extend(policy.as_deref().into_iter().flat_map(|policy| ["--policy", policy]));
        self.host.aws(&create).expect_code(0).stdout.trim().to_owned()
    }

    fn disable(&self, key: &str) {
        self.host.aws(&["disable-key", "--key-id", key]).expect_code(0);
    }

    fn elsewhere(&self) -> PathBuf {
        self.host.root().join("elsewhere")
    }

    fn envol_as(&self, profile: &str, arguments: &[&str]) -> Ran {
        let mut command = self.host.command(ENVOL);
        command.env("AWS_PROFILE", profile).arg("--root").arg(self.host.root()).args(arguments);
        ran(&command.output().unwrap())
    }

    /// bob, whose own account allows him to use whatever keys others let him.
    fn host_bob(&self) {
        self.host.envol(&["kms", "principal", "create", BOB]).expect_code(0);
        self.allow(BOB);
    }

    fn allow(&self, principal: &str) {
        let file = self.host.root().join("policy.json");
        let policy = json!({
            "Version": "2012-10-17",
            "Statement": [{ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }]
        });
        fs::write(&file, policy.to_string()).unwrap();
        self.host.envol(&["kms", "principal", "attach-policy", principal, file.to_str().unwrap()]).expect_code(0);
    }

    /// A key that bob may use: his own, as far as envol can tell.
    fn bobs_key(&self) -> String {
        self.new_key(Some(&json!({
            "Version": "2012-10-17",
            "Statement": [
                { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" }, "Action": "kms:*", "Resource": "*" },
                { "Effect": "Allow", "Principal": { "AWS": BOB }, "Action": "kms:*", "Resource": "*" }
            ]
        })))
    }
}

fn id(snapshot: &Value) -> String {
    snapshot["snapshot_id"].as_str().unwrap().to_owned()
}

fn packs(store: &Path) -> Vec<(PathBuf, u64)> {
    objects(&store.join("packs"))
}

#[test]
fn a_copy_under_another_key_in_the_same_store_moves_nothing_and_outlives_the_first_key() {
    let scene = Scene::of(8);
    let (host, moment) = (&scene.host, scene.content());
    let source = scene.snapshot();
    let there = packs(&host.store());
    let key = scene.new_key(None);
    let copied = host.json(&["snapshot", "copy", &source, "--kms-key", &key]);
    assert_eq!(packs(&host.store()), there);
    assert_eq!((copied["kind"].as_str(), copied["kms_key"].as_str()), (Some("copy"), Some(key.as_str())));
    assert_eq!((&copied["source_snapshot_id"], &copied["stored_bytes"]), (&json!(source), &json!(0)));

    scene.disable(&host.key_id());
    host.envol(&["snapshot", "verify", &source]).expect_code(4).expect_stderr("disabled");
    let restore = ["create", "--snapshot", &id(&copied), "--db-id", "db-RESTORED", "--kms-key", &key];
    let restored = host.envol(&restore).expect_code(0).stdout.trim().to_owned();
    host.envol(&["attach", &restored, "--raw"]).expect_code(0);
    assert!(content(&host.image(&restored)) == moment);
    // What both refer to stays until neither does.
    host.envol(&["snapshot", "delete", &source, "--yes"]).expect_code(0);
    host.envol(&["snapshot", "verify", &id(&copied)]).expect_code(0);
    host.envol(&["snapshot", "delete", &id(&copied), "--yes"]).expect_code(0);
    assert_eq!(objects(&host.store()), []);
}

#[test]
fn a_copy_in_another_store_under_another_key_needs_nothing_of_its_source() {
    let scene = Scene::of(8);
    let (host, moment) = (&scene.host, scene.content());
    let source = scene.snapshot();
    let key = scene.new_key(None);
    let elsewhere = scene.elsewhere();
    let there = ["--store", elsewhere.to_str().unwrap()];
    let copy = ["snapshot", "copy", &source, "--to-store", elsewhere.to_str().unwrap(), "--kms-key", &key];
    let copied = id(&host.json(&copy));
    assert_eq!(unaccounted(&elsewhere), (Vec::new(), Vec::new()));

    host.disable_key();
    host.envol(&["snapshot", "verify", &source]).expect_code(4);
    let restore = ["create", "--snapshot", &copied, "--db-id", "db-RESTORED", "--kms-key", &key];
    let restore = [&restore[..], &there].concat();
    let restored = host.envol(&restore).expect_code(0).stdout.trim().to_owned();
    host.envol(&["attach", &restored, "--raw"]).expect_code(0);
    assert!(content(&host.image(&restored)) == moment);

    // The copy has its own key, and the source's does not stand in for it.
    host.enable_key();
    scene.disable(&key);
    host.envol(&[&["snapshot", "verify", &copied], &there[..]].concat()).expect_code(4).expect_stderr("disabled");
    host.envol(&["snapshot", "verify", &source]).expect_code(0);
    fs::remove_dir_all(host.store()).unwrap();
    host.aws(&["enable-key", "--key-id", &key]).expect_code(0);
    host.envol(&[&["snapshot", "verify", &copied], &there[..]].concat()).expect_code(0);
}

#[test]
fn a_copy_that_was_killed_goes_on_with_what_is_stored() {
    let scene = Scene::of(136);
    let (host, moment) = (&scene.host, scene.content());
    let source = scene.snapshot();
    let elsewhere = scene.elsewhere();
    let key = scene.new_key(None);
    host.aws(&["create-alias", "--alias-name", "alias/copies", "--target-key-id", &key]).expect_code(0);
    // Under an alias, which a repeat has to recognise as the key that it stands for.
    let copy = ["snapshot", "copy", &source, "--to-store", elsewhere.to_str().unwrap(), "--kms-key", "alias/copies"];
    // Whoever reads the third pack of the source waits, by when there is a pack of the copy.
    let (third, aside) = (packs(&host.store())[2].0.clone(), host.root().join("aside"));
    fs::rename(&third, &aside).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&third).status().unwrap().success());
    let mut command = host.command(ENVOL);
    command.arg("--root").arg(host.root()).args(copy).stdout(Stdio::null()).stderr(Stdio::null());
    let mut copying = command.spawn().unwrap();
    let whole = || packs(&elsewhere).into_iter().find(|(path, _)| path.file_name().unwrap() == "00000001");
    wait_until("the first pack of the copy", DEADLINE, || whole().is_some());
    copying.kill().unwrap();
    copying.wait().unwrap();
    fs::rename(&aside, &third).unwrap();
    let (first, _) = whole().unwrap();
    let inode = fs::metadata(&first).unwrap().ino();
    let begun = first.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let there = ["--store", elsewhere.to_str().unwrap()];
    host.envol(&[&["snapshot", "show", &begun], &there[..]].concat()).expect_code(3);

    // Another snapshot, or another key, is another copy.
    let other = host.json(&["snapshot", "copy", &source, "--to-store", elsewhere.to_str().unwrap()]);
    assert_ne!(id(&other), begun);
    host.envol(&[&["snapshot", "delete", &id(&other), "--yes"], &there[..]].concat()).expect_code(0);

    let copied = host.json(&copy);
    assert_eq!(id(&copied), begun);
    assert_eq!(fs::metadata(&first).unwrap().ino(), inode);
    host.json(&[&["snapshot", "gc"], &there[..]].concat());
    assert_eq!(unaccounted(&elsewhere), (Vec::new(), Vec::new()));
    assert!(bytes_in(&elsewhere) < 140 * MIB, "{}", bytes_in(&elsewhere));
    assert!(host.content_of_snapshot(&begun, &there) == moment);
    // The control: nothing is left to go on with.
    assert_ne!(id(&host.json(&copy)), begun);
}

#[test]
fn the_copy_of_a_later_snapshot_adds_what_changed() {
    let scene = Scene::of(24);
    let host = &scene.host;
    let elsewhere = scene.elsewhere();
    let key = scene.new_key(None);
    let copy = |source: &str| {
        host.json(&["snapshot", "copy", source, "--to-store", elsewhere.to_str().unwrap(), "--kms-key", &key])
    };
    let first = copy(&scene.snapshot());
    assert!(first["stored_bytes"].as_u64().unwrap() > 24 * MIB, "{first}");
    write(host, &scene.volume, 5 * MIB, &noise(2, 4096));
    // What is gone in the later one is gone in its copy.
    let punched = std::process::Command::new("fallocate")
        .args(["--punch-hole", "--offset", "16MiB", "--length", "4MiB"])
        .arg(host.image(&scene.volume))
        .status();
    assert!(punched.unwrap().success());
    let moment = scene.content();
    let second = copy(&scene.snapshot());
    assert!(second["stored_bytes"].as_u64().unwrap() < 2 * MIB, "{second}");
    assert_eq!(second["base_snapshot_id"], first["snapshot_id"]);
    let there = ["--store", elsewhere.to_str().unwrap()];
    host.envol(&[&["snapshot", "delete", &id(&first), "--yes"], &there[..]].concat()).expect_code(0);
    assert!(host.content_of_snapshot(&id(&second), &there) == moment);
}

#[test]
fn a_share_opens_that_snapshot_to_one_principal_and_nothing_else() {
    let scene = Scene::of(8);
    let (host, moment) = (&scene.host, scene.content());
    let source = scene.snapshot();
    write(host, &scene.volume, 0, &noise(2, 4096));
    let sibling = scene.snapshot();
    scene.host_bob();
    host.envol(&["kms", "principal", "create", "arn:aws:iam::444455556666:user/eve"]).expect_code(0);
    scene.allow("arn:aws:iam::444455556666:user/eve");
    let as_bob = |arguments: &[&str]| scene.envol_as(AS_BOB, arguments);
    as_bob(&["snapshot", "verify", &source]).expect_code(4).expect_stderr("kms:Decrypt");

    let there = packs(&host.store());
    let shared = host.json(&["snapshot", "share", &source, "--with", BOB]);
    assert_eq!(packs(&host.store()), there);
    assert_eq!((shared["kind"].as_str(), shared["shared_with"].as_str()), (Some("share"), Some(BOB)));
    let share = id(&shared);
    as_bob(&["snapshot", "verify", &share]).expect_code(0);
    // Nobody else of that account.
    scene.envol_as("eve-444455556666", &["snapshot", "verify", &share]).expect_code(4);
    // Not what it was made from, not another of that volume, and not the volume.
    for other in [&source, &sibling] {
        as_bob(&["snapshot", "verify", other]).expect_code(4).expect_stderr("kms:Decrypt");
    }
    host.envol(&["detach", &scene.volume]).expect_code(0);
    let as_his = ["attach", &scene.volume, "--raw", "--kms-profile", AS_BOB];
    host.envol(&as_his).expect_code(4).expect_stderr("kms:Decrypt");
    host.envol(&["attach", &scene.volume, "--raw"]).expect_code(0);
    // Another name over the share's key does not open another's data either.
    let manifest = |id: &str| host.store().join("snapshots").join(id);
    let whole = fs::read(manifest(&share)).unwrap();
    fs::copy(manifest(&sibling), manifest(&share)).unwrap();
    as_bob(&["snapshot", "verify", &share]).expect_code(7);
    fs::write(manifest(&share), whole).unwrap();

    // A copy of his own: under the owner's key he cannot make one.
    let bobs = scene.elsewhere();
    let copy = ["snapshot", "copy", &share, "--to-store", bobs.to_str().unwrap()];
    as_bob(&copy).expect_code(4).expect_stderr("kms:GenerateDataKeyWithoutPlaintext");
    let key = scene.bobs_key();
    let copied = as_bob(&[&copy[..], &["--kms-key", &key]].concat()).expect_code(0).stdout.trim().to_owned();
    let restore = ["create", "--snapshot", &copied, "--store", bobs.to_str().unwrap(), "--db-id", "db-BOB"];
    let restore = [&restore[..], &["--kms-key", &key]].concat();
    let check = || {
        let restored = as_bob(&restore).expect_code(0).stdout.trim().to_owned();
        host.envol(&["attach", &restored, "--raw", "--kms-profile", AS_BOB]).expect_code(0);
        assert!(content(&host.image(&restored)) == moment);
        host.envol(&["detach", &restored]).expect_code(0);
    };
    check();

    // The grant was all that let him in; what is his stays his.
    let grant = shared["grant_id"].as_str().unwrap();
    host.aws(&["revoke-grant", "--key-id", &host.key_id(), "--grant-id", grant]).expect_code(0);
    as_bob(&["snapshot", "verify", &share]).expect_code(4).expect_stderr("kms:Decrypt");
    host.envol(&["snapshot", "verify", &share]).expect_code(0);
    check();
    // Whoever shares twice gives two, each with a grant of its own.
    let again = host.json(&["snapshot", "share", &source, "--with", BOB]);
    as_bob(&["snapshot", "verify", &id(&again)]).expect_code(0);
    as_bob(&["snapshot", "verify", &share]).expect_code(4);
}

/// KMS gives a grant for an account to its root, who is not its users.
#[test]
fn a_share_with_an_account_is_for_its_root() {
    let scene = Scene::of(4);
    let host = &scene.host;
    let source = scene.snapshot();
    scene.host_bob();
    let root = format!("arn:aws:iam::{BOBS_ACCOUNT}:root");
    host.envol(&["kms", "principal", "create", &root]).expect_code(0);
    let as_root = |snapshot: &str| scene.envol_as("root-444455556666", &["snapshot", "verify", snapshot]);
    as_root(&source).expect_code(4);
    let shared = host.json(&["snapshot", "share", &source, "--with", BOBS_ACCOUNT]);
    assert_eq!(shared["shared_with"], root.as_str());
    as_root(&id(&shared)).expect_code(0);
    as_root(&source).expect_code(4);
    scene.envol_as(AS_BOB, &["snapshot", "verify", &id(&shared)]).expect_code(4);
    // Nobody at all is a mistake of whoever types.
    host.envol(&["snapshot", "share", &source, "--with", "bob"]).expect_code(2);
}

#[test]
fn source_share_and_copy_live_and_go_each_for_itself() {
    let scene = Scene::of(8);
    let (host, moment) = (&scene.host, scene.content());
    let [one, other] = [(); 2].map(|()| {
        let source = scene.snapshot();
        let share = id(&host.json(&["snapshot", "share", &source, "--with", BOB]));
        let copy = id(&host.json(&["snapshot", "copy", &source]));
        [source, share, copy]
    });
    let delete = |snapshot: &str| host.envol(&["snapshot", "delete", snapshot, "--yes"]).expect_code(0);
    delete(&one[0]);
    for left in &one[1..] {
        host.envol(&["snapshot", "verify", left]).expect_code(0);
    }
    delete(&other[1]);
    assert!(host.content_of_snapshot(&other[0], &[]) == moment);
    assert!(host.content_of_snapshot(&one[1], &[]) == moment);
    for snapshot in [&one[1], &one[2], &other[0], &other[2]] {
        host.envol(&["snapshot", "verify", snapshot]).expect_code(0);
        delete(snapshot);
    }
    assert_eq!(objects(&host.store()), []);
}

#[test]
fn a_snapshot_under_a_key_of_aws_is_not_shared_and_a_copy_under_another_is() {
    let scene = Scene::of(4);
    let host = &scene.host;
    let source = scene.snapshot();
    host.envol(&["kms", "principal", "create", "alice"]).expect_code(0);
    let service = ["kms", "principal", "create", "rds.us-east-1.amazonaws.com", "--acting-for", "alice"];
    host.envol(&service).expect_code(0);
    scene.allow("alice");
    scene.host_bob();
    // Such a key is used through its service alone.
    let as_service = |arguments: &[&str]| scene.envol_as("rds-for-alice", arguments);
    let copy = ["snapshot", "copy", &source, "--kms-key", "alias/aws/rds"];
    let managed = as_service(&copy).expect_code(0).stdout.trim().to_owned();
    let share = ["snapshot", "share", &managed, "--with", BOB];
    let before = objects(&host.store());
    let refused = as_service(&share).expect_code(2);
    refused
        .expect_stderr("you can't share a snapshot that has been encrypted using the AWS managed key")
        .expect_stderr("Copy the snapshot under a key of your own");
    assert_eq!(objects(&host.store()), before);
    scene.envol_as(AS_BOB, &["snapshot", "verify", &managed]).expect_code(4);

    let own = as_service(&["snapshot", "copy", &managed, "--kms-key", "alias/test"]).expect_code(0).stdout;
    let shared = as_service(&["--json", "snapshot", "share", own.trim(), "--with", BOB]).expect_code(0);
    let shared: Value = serde_json::from_str(&shared.stdout).unwrap();
    scene.envol_as(AS_BOB, &["snapshot", "verify", &id(&shared)]).expect_code(0);
}
