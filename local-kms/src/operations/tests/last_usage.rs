//! GetKeyLastUsage: by which call a key was last used.

use serde_json::{Value, json};

use super::{Fixture, START_S};

fn usage(fixture: &Fixture, key: &str) -> Value {
    fixture.ok("GetKeyLastUsage", &json!({ "KeyId": key }))
}

#[test]
fn a_use_is_named_by_its_record_and_outlives_a_restart() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let unused = json!({ "KeyId": Fixture::arn(&key), "KeyCreationDate": START_S, "TrackingStartDate": START_S });
    assert_eq!(usage(&fixture, &key), unused);
    fixture.pass_ms(1000);
    fixture.encrypt(&key, &json!({}));
    let event = fixture.last_record()["eventID"].clone();
    let last = json!({
        "Operation": "Encrypt", "Timestamp": START_S + 1.0, "CloudTrailEventId": event, "KmsRequestId": "request",
    });
    assert_eq!(usage(&fixture, &key)["KeyLastUsage"], last);
    fixture.kms.save_usages().unwrap();
    let fixture = fixture.reopened();
    assert_eq!(usage(&fixture, &key)["KeyLastUsage"], last);
}

#[test]
fn only_what_used_the_key_is_a_use() {
    let fixture = Fixture::new();
    let (key, other) = (fixture.create_key(), fixture.create_key());
    let blob = fixture.encrypt(&other, &json!({}));
    let last = |key: &str| usage(&fixture, key)["KeyLastUsage"]["Operation"].clone();
    fixture.ok("DescribeKey", &json!({ "KeyId": key }));
    fixture.call("GenerateDataKey", &json!({ "KeyId": key, "NumberOfBytes": 64, "DryRun": true })).unwrap_err();
    fixture.call("Decrypt", &json!({ "CiphertextBlob": blob, "KeyId": key })).unwrap_err();
    assert_eq!(last(&key), Value::Null);
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_eq!((last(&other), last(&key)), (json!("Decrypt"), Value::Null));
    fixture.ok("ReEncrypt", &json!({ "CiphertextBlob": blob, "DestinationKeyId": key }));
    assert_eq!((last(&other), last(&key)), (json!("ReEncrypt"), json!("ReEncrypt")));
    fixture.call("Decrypt", &json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "1" } })).unwrap_err();
    assert_eq!(last(&other), json!("ReEncrypt"));
}
