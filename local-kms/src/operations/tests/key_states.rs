//! The key-state matrix of the AWS KMS Developer Guide, for the operations and states that exist here.

use serde_json::{Value, json};

use super::Fixture;

#[derive(Clone, Copy, Debug)]
enum In {
    Enabled,
    Disabled,
    PendingDeletion,
}

use In::{Disabled, Enabled, PendingDeletion};

impl In {
    fn put(self, fixture: &Fixture, key: &str) {
        match self {
            Enabled => {}
            Disabled => drop(fixture.ok("DisableKey", &json!({ "KeyId": key }))),
            PendingDeletion => drop(fixture.ok("ScheduleKeyDeletion", &json!({ "KeyId": key }))),
        }
    }
}

/// What the matrix says: `[Enabled, Disabled, PendingDeletion]`, each "ok" or an error.
const OK: &str = "ok";
const DISABLED: &str = "DisabledException is disabled.";
const PENDING: &str = "KMSInvalidStateException is pending deletion.";
const NOT_PENDING: &str = "KMSInvalidStateException is not pending deletion.";

fn requests(key: &str, other: &str, blob: &Value, others: &Value) -> Vec<(&'static str, Value, [&'static str; 3])> {
    let crypto = [OK, DISABLED, PENDING];
    let manage = [OK, OK, PENDING];
    let always = [OK, OK, OK];
    let dry_run = json!({ "KeyId": key, "DryRun": true, "DryRunModifiers": ["IGNORE_CIPHERTEXT"] });
    let would = ["DryRunOperationException", DISABLED, PENDING];
    vec![
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "c2VjcmV0" }), crypto),
        ("Decrypt", json!({ "CiphertextBlob": blob }), crypto),
        ("Decrypt", json!({ "CiphertextBlob": blob, "KeyId": key }), crypto),
        ("Decrypt", json!({ "CiphertextBlob": blob, "DryRun": true }), would),
        ("Decrypt", dry_run, would),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 64 }), crypto),
        ("GenerateDataKeyWithoutPlaintext", json!({ "KeyId": key, "KeySpec": "AES_256" }), crypto),
        ("ReEncrypt", json!({ "CiphertextBlob": blob, "DestinationKeyId": other }), crypto),
        ("ReEncrypt", json!({ "CiphertextBlob": others, "DestinationKeyId": key }), crypto),
        ("DescribeKey", json!({ "KeyId": key }), always),
        ("ListAliases", json!({ "KeyId": key }), always),
        ("CreateAlias", json!({ "AliasName": "alias/new", "TargetKeyId": key }), manage),
        ("UpdateAlias", json!({ "AliasName": "alias/others", "TargetKeyId": key }), manage),
        ("UpdateAlias", json!({ "AliasName": "alias/its", "TargetKeyId": other }), always),
        ("DeleteAlias", json!({ "AliasName": "alias/its" }), always),
        ("EnableKey", json!({ "KeyId": key }), manage),
        ("DisableKey", json!({ "KeyId": key }), manage),
        ("ScheduleKeyDeletion", json!({ "KeyId": key }), manage),
        ("CancelKeyDeletion", json!({ "KeyId": key }), [NOT_PENDING, NOT_PENDING, OK]),
    ]
}

#[test]
fn every_cell_of_the_matrix() {
    let fixture = Fixture::new();
    let count = requests("", "", &Value::Null, &Value::Null).len();
    for row in 0..count {
        for (column, state) in [Enabled, Disabled, PendingDeletion].into_iter().enumerate() {
            let (key, other) = (fixture.create_key(), fixture.create_key());
            let (blob, others) = (fixture.encrypt(&key, &json!({})), fixture.encrypt(&other, &json!({})));
            fixture.ok("CreateAlias", &json!({ "AliasName": "alias/its", "TargetKeyId": key }));
            fixture.ok("CreateAlias", &json!({ "AliasName": "alias/others", "TargetKeyId": other }));
            state.put(&fixture, &key);
            let (operation, request, expected) = requests(&key, &other, &blob, &others).remove(row);
            let answer = match fixture.call(operation, &request) {
                Ok(_) => OK.to_owned(),
                Err(("DryRunOperationException", _)) => "DryRunOperationException".to_owned(),
                Err((code, message)) => format!("{code} {}", message.replace(&Fixture::arn(&key), "").trim()),
            };
            assert_eq!(answer, expected[column], "{operation} {request} in {state:?}");
            for alias in ["alias/its", "alias/others", "alias/new"] {
                let _ = fixture.call("DeleteAlias", &json!({ "AliasName": alias }));
            }
        }
    }
}

#[test]
fn states_change_as_documented_and_survive_a_restart() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let change = |fixture: &Fixture, operation: &str| drop(fixture.ok(operation, &json!({ "KeyId": key })));
    change(&fixture, "DisableKey");
    change(&fixture, "DisableKey");
    let fixture = fixture.reopened();
    assert_eq!(fixture.state(&key), "Disabled");
    change(&fixture, "EnableKey");
    assert_eq!(fixture.state(&key), "Enabled");
    change(&fixture, "ScheduleKeyDeletion");
    let fixture = fixture.reopened();
    assert_eq!(fixture.state(&key), "PendingDeletion");
    change(&fixture, "CancelKeyDeletion");
    assert_eq!(fixture.state(&key), "Disabled", "cancelling alone must not make the key work");
    change(&fixture, "EnableKey");
    fixture.encrypt(&key, &json!({}));
}
