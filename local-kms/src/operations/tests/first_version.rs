//! A state that the first version wrote: `tests/vectors/first-version` in the root of the repository.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Fixture, START, clock, text};
use crate::kms::Kms;

const KEY: &str = "897d8445-3bc1-4a14-9a3f-ec2117418517";
const MATERIAL: &str = "df57f510c0824462e7c45420a53036c706ba956d4a1767707e122aac5be7b22d";
/// Where the superblock of the volume has the blob of its data key (docs/format.md).
const BLOB_AT: usize = 0x900;
const BLOB_LEN: usize = 149;

fn tar() -> Command {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/first-version/root.tar.gz");
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive);
    tar
}

fn opened() -> Fixture {
    let dir = TempDir::new().unwrap();
    let unpacked = tar().arg("-C").arg(dir.path()).args(["--strip-components=1", "kms"]).status().unwrap();
    assert!(unpacked.success());
    let now_ms = START.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let now_ms = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(now_ms));
    let kms = Kms::open(dir.path(), clock(&now_ms)).unwrap();
    Fixture { kms, now_ms, dir }
}

/// The blob of the volume's data key, as the first version sealed it.
fn old_blob() -> Value {
    let mut tar = tar().args(["-O", "volumes/vol-first-version/backing"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut superblock = vec![0; BLOB_AT + BLOB_LEN];
    tar.stdout.take().unwrap().read_exact(&mut superblock).unwrap();
    tar.kill().unwrap();
    tar.wait().unwrap();
    json!(STANDARD.encode(&superblock[BLOB_AT..]))
}

#[test]
fn its_users_keep_their_secrets_and_what_they_could_do() {
    let fixture = opened().reopened();
    let credentials = std::fs::read_to_string(fixture.dir.path().join("aws/credentials")).unwrap();
    for who in ["envol-admin", "envol-volume"] {
        let section = credentials.split_once(&format!("[{who}]")).unwrap().1;
        let value = |name: &str| {
            let line = section.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once('=').unwrap().1.trim().to_owned()
        };
        let identified = fixture.kms.identify(&value("aws_access_key_id"), None);
        let (secret, caller) = identified.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(*secret, value("aws_secret_access_key"));
        assert_eq!(caller.arn(), format!("arn:aws:iam::111122223333:user/{who}"));
        for (operation, request) in [
            ("DisableKey", json!({ "KeyId": KEY })),
            ("EnableKey", json!({ "KeyId": KEY })),
            ("GenerateDataKey", json!({ "KeyId": "alias/test", "NumberOfBytes": 64 })),
            ("CreateKey", json!({})),
            ("ListKeys", json!({})),
        ] {
            assert!(fixture.may(who, operation, &request), "{who} {operation}");
        }
    }
}

#[test]
fn its_keys_decrypt_and_list_their_material() {
    let fixture = opened();
    let metadata = fixture.ok("DescribeKey", &json!({ "KeyId": "alias/test" }))["KeyMetadata"].clone();
    assert_eq!((text(&metadata["KeyId"]), text(&metadata["CurrentKeyMaterialId"])), (KEY.into(), MATERIAL.into()));
    assert_eq!((&metadata["KeyState"], &metadata["Origin"]), (&json!("Enabled"), &json!("AWS_KMS")));
    let context = json!({ "aws:ebs:id": "vol-first-version", "aws:rds:db-id": "db-FIRST" });
    let request = json!({ "CiphertextBlob": old_blob(), "EncryptionContext": context });
    let data_key = fixture.ok("Decrypt", &request);
    assert_eq!(data_key["KeyMaterialId"], MATERIAL);
    let list = |key: &str| {
        let request = json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" });
        fixture.ok("ListKeyRotations", &request)["Rotations"].clone()
    };
    let first = json!({ "KeyId": KEY, "KeyMaterialId": MATERIAL, "KeyMaterialState": "CURRENT" });
    assert_eq!(list(KEY), json!([first]));

    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": KEY }));
    let fixture = fixture.reopened();
    assert_eq!(fixture.ok("Decrypt", &request)["Plaintext"], data_key["Plaintext"], "after a rotation too");
    assert_eq!(fixture.ok("ListAliases", &json!({ "KeyId": KEY }))["Aliases"][0]["AliasName"], "alias/test");
    let policy = fixture.ok("GetKeyPolicy", &json!({ "KeyId": KEY }))["Policy"].clone();
    assert!(text(&policy).contains("Enable IAM User Permissions"));
}
