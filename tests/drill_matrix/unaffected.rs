//! What may be done to a key while a volume under it is served, and does not concern the volume.

use serde_json::json;

use super::drill::Drill;
use super::harness::{ENVOL, Ran, ran};
use super::served::Served;

/// Probes go on to succeed, the image can be read, and then the owner's word counts.
#[track_caller]
pub(crate) fn unaffected(drill: &Drill, done: impl FnOnce(&Drill)) {
    drill.assert_served();
    done(drill);
    drill.wait_for_two_probes();
    drill.assert_served();
    assert!(drill.status()["last_kms_error"].is_null());
    drill.disable_key();
    drill.wait_for_terminal("key-disabled");
}

#[test]
fn the_creator_loses_what_the_key_policy_allowed() {
    let mut drill = Drill::new();
    drill.host.envol(&["detach", &drill.volume]).expect_code(0);
    drill.host.envol(&["kms", "principal", "create", "alice"]).expect_code(0);
    drill.put_key_policy(&[json!({
        "Sid": "Alice", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:user/alice" },
        "Action": ["kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:CreateGrant"], "Resource": "*"
    })]);
    let create_as_alice = |drill: &Drill| -> Ran {
        let mut command = drill.host.command(ENVOL);
        command.env("AWS_PROFILE", "alice").arg("--root").arg(drill.root()).args(["create", "--db-id", "db-TEST"]);
        command.args(["--size", "16MiB", "--kms-key", &drill.key, "--grantee", super::GRANTEE]);
        ran(&command.args(["--kms-profile", "envol-volume"]).output().unwrap())
    };
    drill.volume = create_as_alice(&drill).expect_code(0).stdout.trim().to_owned();
    drill.serve();
    unaffected(&drill, |drill| {
        drill.put_key_policy(&[]);
        create_as_alice(drill).expect_code(4);
    });
}

#[test]
fn the_key_is_rotated_on_demand_and_every_year_from_now_on() {
    unaffected(&Drill::new(), |drill| {
        drill.aws(&["rotate-key-on-demand", "--key-id", &drill.key]);
        drill.aws(&["enable-key-rotation", "--key-id", &drill.key, "--rotation-period-in-days", "90"]);
        drill.fault(&["clock", "--advance", "91d"]);
        let list = ["list-key-rotations", "--key-id", &drill.key, "--query", "length(Rotations)", "--output", "text"];
        assert_eq!(drill.aws(&list), "2");
    });
}

#[test]
fn the_alias_is_given_to_another_key() {
    unaffected(&Drill::new(), |drill| {
        let other = drill.aws(&["create-key", "--query", "KeyMetadata.KeyId", "--output", "text"]);
        drill.aws(&["update-alias", "--alias-name", "alias/test", "--target-key-id", &other]);
        // Not this volume's any more.
        drill.aws(&["disable-key", "--key-id", &other]);
        assert_ne!(drill.host.key_id(), drill.key);
    });
}

#[test]
fn the_key_is_tagged_described_and_untagged() {
    unaffected(&Drill::new(), |drill| {
        let key = ["--key-id", &drill.key];
        drill.aws(&[&["tag-resource", "--tags", "TagKey=team,TagValue=orders"], &key[..]].concat());
        drill.aws(&[&["update-key-description", "--description", "of the orders"], &key[..]].concat());
        drill.aws(&[&["untag-resource", "--tag-keys", "team"], &key[..]].concat());
    });
}
