//! One record a call: what it says, and what it never says.

use std::fs::OpenOptions;
use std::io::Write;

use serde_json::{Value, json};

use super::{Fixture, text};

#[test]
fn a_record_has_the_shape_of_cloudtrail() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let context = json!({ "aws:ebs:id": "vol-0894" });
    let blob = fixture.encrypt(&key, &context);
    let opened = fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob, "EncryptionContext": context }));
    let mut record = fixture.last_record();
    let caller = fixture.kms.caller_named("envol-admin");
    assert_eq!(record["eventID"].as_str().unwrap().len(), 36);
    record["eventID"] = Value::Null;
    assert_eq!(
        record,
        json!({
            "eventVersion": "1.11",
            "userIdentity": {
                "type": "IAMUser", "principalId": caller.unique_id(), "accountId": "111122223333",
                "arn": "arn:aws:iam::111122223333:user/envol-admin",
                "accessKeyId": caller.access_key_id, "userName": "envol-admin",
            },
            "eventTime": "2026-11-22T01:03:44Z", "eventSource": "kms.amazonaws.com", "eventName": "Decrypt",
            "awsRegion": "us-east-1", "sourceIPAddress": "127.0.0.1", "userAgent": "test",
            "requestParameters": { "encryptionContext": context, "encryptionAlgorithm": "SYMMETRIC_DEFAULT" },
            "responseElements": null, "additionalEventData": { "keyMaterialId": opened["KeyMaterialId"] },
            "requestID": "request", "eventID": null, "readOnly": true,
            "resources": [{ "accountId": "111122223333", "type": "AWS::KMS::Key", "ARN": Fixture::arn(&key) }],
            "eventType": "AwsApiCall", "managementEvent": true, "recipientAccountId": "111122223333",
            "eventCategory": "Management",
        })
    );
}

#[test]
fn refused_calls_and_dry_runs_are_recorded() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    fixture.ok("DisableKey", &json!({ "KeyId": key }));
    assert_eq!(fixture.last_record()["responseElements"]["keyId"], Fixture::arn(&key));
    assert_eq!(fixture.last_record()["readOnly"], false);
    fixture.call("GenerateDataKey", &json!({ "KeyId": key, "NumberOfBytes": 64 })).unwrap_err();
    let record = fixture.last_record();
    assert_eq!(record["errorCode"], "DisabledException");
    assert_eq!(record["errorMessage"], format!("{} is disabled.", Fixture::arn(&key)));
    assert_eq!(record["requestParameters"], json!({ "keyId": key, "numberOfBytes": 64 }));
    assert_eq!(record["resources"][0]["ARN"], Fixture::arn(&key));

    fixture.ok("EnableKey", &json!({ "KeyId": key }));
    fixture.call("GenerateDataKey", &json!({ "KeyId": key, "NumberOfBytes": 64, "DryRun": true })).unwrap_err();
    let record = fixture.last_record();
    assert_eq!(
        (&record["errorCode"], &record["requestParameters"]["dryRun"]),
        (&json!("DryRunOperationException"), &json!(true))
    );

    let before = fixture.records().len();
    fixture.raw("Decrypt", b"not json").unwrap_err();
    assert_eq!(fixture.last_record()["errorCode"], "SerializationException");
    assert_eq!(fixture.records().len(), before + 1);
}

#[test]
fn a_change_records_what_came_of_it() {
    let fixture = Fixture::new();
    let created = fixture.ok("CreateKey", &json!({ "Description": "volumes" }))["KeyMetadata"].clone();
    let metadata = fixture.last_record()["responseElements"]["keyMetadata"].clone();
    assert_eq!((&metadata["aWSAccountId"], &metadata["keyId"]), (&json!("111122223333"), &created["KeyId"]));
    assert_eq!(metadata["creationDate"], "Nov 22, 2026, 1:03:44 AM");
    let key = text(&created["KeyId"]);
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/a", "TargetKeyId": key }));
    let arns: Vec<Value> =
        fixture.last_record()["resources"].as_array().unwrap().iter().map(|resource| resource["ARN"].clone()).collect();
    assert_eq!(arns, [json!("arn:aws:kms:us-east-1:111122223333:alias/a"), json!(Fixture::arn(&key))]);
    fixture.ok("ScheduleKeyDeletion", &json!({ "KeyId": key, "PendingWindowInDays": 7 }));
    assert_eq!(fixture.last_record()["responseElements"]["deletionDate"], "Nov 29, 2026, 1:03:44 AM");
}

#[test]
fn neither_plaintext_nor_ciphertext_nor_grant_token_is_recorded() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let plaintext = "cGxhaW50ZXh0LXRoYXQtbXVzdC1ub3QtbGVhaw==";
    let sealed = fixture.ok("Encrypt", &json!({ "KeyId": key, "Plaintext": plaintext }));
    let blob = text(&sealed["CiphertextBlob"]);
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    fixture.ok("ReEncrypt", &json!({ "CiphertextBlob": blob, "DestinationKeyId": key }));
    fixture.call("Encrypt", &json!({ "KeyId": key, "Plaintext": plaintext, "GrantTokens": ["a-token"] })).unwrap_err();
    fixture.raw("Encrypt", format!(r#"{{"Plaintext":"{plaintext}","KeyId":1}}"#).as_bytes()).unwrap_err();
    let data_key = fixture.ok("GenerateDataKey", &json!({ "KeyId": key, "NumberOfBytes": 64 }));
    let audit = fixture.audit_text();
    assert!(audit.contains(&key), "the key must be named");
    for secret in [plaintext, "plaintext-that", "a-token", &blob, &text(&data_key["Plaintext"])] {
        assert!(!audit.contains(secret), "{secret}");
    }
}

#[test]
fn a_torn_last_line_does_not_swallow_the_next_record() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let whole = fixture.records().len();
    let mut file = OpenOptions::new().append(true).open(fixture.dir.path().join("audit.jsonl")).unwrap();
    file.write_all(br#"{"eventVersion":"1.11","userId"#).unwrap();
    let fixture = fixture.reopened();
    fixture.ok("DisableKey", &json!({ "KeyId": key }));
    fixture.ok("EnableKey", &json!({ "KeyId": key }));
    let text = fixture.audit_text();
    let lines: Vec<Option<Value>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines.len(), whole + 3);
    assert!(lines[whole].is_none(), "the torn line stays as it was");
    let names: Vec<_> = lines[whole + 1..].iter().map(|record| record.as_ref().unwrap()["eventName"].clone()).collect();
    assert_eq!(names, ["DisableKey", "EnableKey"]);
}
