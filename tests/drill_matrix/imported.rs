//! Key material that was imported, and is deleted or expires: a revocation, and the same material brings the key back,
//! but not the volume.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::drill::Drill;
use super::harness::Host;
use super::served::Served;

const MATERIAL: [u8; 32] = [0x5e; 32];
const FOR_EVER: [&str; 2] = ["--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE"];
const WRAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/wrap-key-material.py");

/// `alias/test` is of a key without material of its own.
fn host_with_external_key() -> (Host, String) {
    let host = Host::new();
    let create = ["create-key", "--origin", "EXTERNAL", "--query", "KeyMetadata.KeyId", "--output", "text"];
    let key = host.aws(&create).expect_code(0).stdout.trim().to_owned();
    host.aws(&["update-alias", "--alias-name", "alias/test", "--target-key-id", &key]).expect_code(0);
    (host, key)
}

fn import(host: &Host, key: &str, expiry: &[&str]) {
    let wrapping = ["--wrapping-algorithm", "RSAES_OAEP_SHA_256", "--wrapping-key-spec", "RSA_2048"];
    let parameters = [&["get-parameters-for-import", "--key-id", key, "--output", "json"], &wrapping[..]].concat();
    let parameters = host.aws(&parameters).expect_code(0).stdout;
    let mut wrap = Command::new("python3").arg(WRAP).arg(host.root()).stdin(Stdio::piped()).spawn().unwrap();
    fs::write(host.root().join("material"), MATERIAL).unwrap();
    wrap.stdin.take().unwrap().write_all(parameters.as_bytes()).unwrap();
    assert!(wrap.wait().unwrap().success());
    let file = |name: &str| format!("fileb://{}/{name}", host.root().display());
    let (token, wrapped) = (file("token"), file("wrapped"));
    let import =
        ["import-key-material", "--key-id", key, "--import-token", &token, "--encrypted-key-material", &wrapped];
    host.aws(&[&import[..], expiry].concat()).expect_code(0);
}

#[track_caller]
fn comes_back_without_the_volume(drill: &Drill) {
    drill.wait_for_terminal("key-pending-import");
    drill.assert_other_is_refused();
    import(&drill.host, &drill.key, &FOR_EVER);
    drill.assert_other_can_be_served();
    drill.assert_terminal();
}

#[test]
fn deleted_material() {
    let (host, key) = host_with_external_key();
    import(&host, &key, &FOR_EVER);
    let drill = Drill::on(host);
    drill.wait_for_two_probes();
    drill.assert_served();
    drill.aws(&["delete-imported-key-material", "--key-id", &key]);
    comes_back_without_the_volume(&drill);
}

#[test]
fn expired_material() {
    let (host, key) = host_with_external_key();
    let in_a_month = jiff::Timestamp::now().as_second() + 30 * 86_400;
    import(&host, &key, &["--expiration-model", "KEY_MATERIAL_EXPIRES", "--valid-to", &in_a_month.to_string()]);
    let drill = Drill::on(host);
    drill.fault(&["clock", "--advance", "29d"]);
    drill.wait_for_two_probes();
    drill.assert_served();
    drill.fault(&["clock", "--advance", "2d"]);
    comes_back_without_the_volume(&drill);
}
