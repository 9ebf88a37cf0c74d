//! Creating, describing and listing keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{DAY_MS, Fixture, text};
use crate::ciphertext::CiphertextBlob;

#[test]
fn a_new_key_is_described_as_aws_describes_one() {
    let fixture = Fixture::new();
    let tags = json!([{ "TagKey": "team", "TagValue": "db" }]);
    let created = fixture.ok("CreateKey", &json!({ "Description": "volumes", "Tags": tags }))["KeyMetadata"].clone();
    let key = text(&created["KeyId"]);
    let mut expected = json!({
        "AWSAccountId": "111122223333", "KeyId": key, "Arn": Fixture::arn(&key), "CreationDate": 1_795_309_424.0,
        "Enabled": true, "Description": "volumes", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "Enabled",
        "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT", "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": false,
    });
    expected["CurrentKeyMaterialId"] = created["CurrentKeyMaterialId"].clone();
    assert_eq!(created, expected);
    assert_eq!(text(&created["CurrentKeyMaterialId"]).len(), 64);
    assert_eq!(fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"], created);
    assert_eq!(fixture.ok("DescribeKey", &json!({ "KeyId": Fixture::arn(&key) }))["KeyMetadata"], created);
}

#[test]
fn a_key_that_would_be_less_than_asked_for_is_refused() {
    let fixture = Fixture::new();
    fixture.ok(
        "CreateKey",
        &json!({ "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS", "MultiRegion": false }),
    );
    for (request, code) in [
        (json!({ "KeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY" }), "UnsupportedOperationException"),
        (json!({ "Origin": "AWS_CLOUDHSM" }), "UnsupportedOperationException"),
        (json!({ "MultiRegion": true }), "UnsupportedOperationException"),
        (json!({ "Policy": "{}" }), "MalformedPolicyDocumentException"),
        (json!({ "KeyUsage": "SIGN_VERIFY" }), "ValidationException"),
        (json!({ "KeyUsage": "BOIL" }), "ValidationException"),
        (json!({ "Description": "x".repeat(8193) }), "ValidationException"),
        (
            json!({ "KeySpec": "SYMMETRIC_DEFAULT", "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT" }),
            "ValidationException",
        ),
        (json!({ "Tags": [{ "TagKey": "aws:x", "TagValue": "" }] }), "TagException"),
        (json!({ "Tags": [{ "TagKey": "a", "TagValue": "" }, { "TagKey": "a", "TagValue": "" }] }), "TagException"),
    ] {
        assert_eq!(fixture.code("CreateKey", &request), code, "{request}");
    }
    assert_eq!(fixture.ok("ListKeys", &json!({}))["Keys"].as_array().unwrap().len(), 1);
}

#[test]
fn an_unknown_key_is_named_by_its_arn() {
    let fixture = Fixture::new();
    let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
    for operation in ["DescribeKey", "EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion"] {
        let refusal = fixture.call(operation, &json!({ "KeyId": id })).unwrap_err();
        let message = format!("Key '{}' does not exist", Fixture::arn(id));
        assert_eq!(refusal, ("NotFoundException", message), "{operation}");
        assert_eq!(fixture.code(operation, &json!({})), "ValidationException", "{operation}");
    }
}

#[test]
fn pages_cover_all_keys_once() {
    let fixture = Fixture::new();
    let mut created: Vec<String> = (0..7).map(|_| fixture.create_key()).collect();
    created.sort();
    let (mut listed, mut pages) = (Vec::new(), 0);
    let mut request = json!({ "Limit": 3 });
    loop {
        let page = fixture.ok("ListKeys", &request);
        pages += 1;
        listed.extend(page["Keys"].as_array().unwrap().iter().map(|key| text(&key["KeyId"])));
        assert_eq!(page["Truncated"], json!(page.get("NextMarker").is_some()));
        match page.get("NextMarker") {
            Some(marker) => request["Marker"] = marker.clone(),
            None => break,
        }
    }
    assert_eq!((listed, pages), (created, 3));
    let all = fixture.ok("ListKeys", &json!({ "Limit": 7 }));
    assert_eq!((all["Truncated"].clone(), all.get("NextMarker")), (json!(false), None));
}

#[test]
fn a_page_out_of_bounds_is_refused() {
    let fixture = Fixture::new();
    assert_eq!(fixture.code("ListKeys", &json!({ "Limit": 0 })), "ValidationException");
    assert_eq!(fixture.code("ListKeys", &json!({ "Limit": 1001 })), "ValidationException");
    assert_eq!(fixture.code("ListKeys", &json!({ "Marker": "%" })), "InvalidMarkerException");
    assert_eq!(fixture.code("ListKeys", &json!({ "Marker": "AWE" })), "InvalidMarkerException");
    fixture.ok("ListKeys", &json!({ "Limit": 1000 }));
}

#[test]
fn a_key_is_gone_when_its_waiting_period_is_over_and_not_before() {
    let fixture = Fixture::new();
    let (key, other) = (fixture.create_key(), fixture.create_key());
    let (blob, kept) = (fixture.encrypt(&key, &json!({})), fixture.encrypt(&other, &json!({})));
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/gone", "TargetKeyId": key }));
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/kept", "TargetKeyId": other }));
    let scheduled = fixture.ok("ScheduleKeyDeletion", &json!({ "KeyId": key, "PendingWindowInDays": 7 }));
    assert_eq!(scheduled["PendingWindowInDays"], 7);
    assert_eq!(scheduled["KeyId"], Fixture::arn(&key));
    assert_eq!(scheduled["DeletionDate"], 1_795_309_424.0 + 7.0 * 86400.0);
    let metadata = fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"].clone();
    assert_eq!((&metadata["DeletionDate"], &metadata["Enabled"]), (&scheduled["DeletionDate"], &json!(false)));

    fixture.pass_ms(7 * DAY_MS - 1);
    assert_eq!(fixture.state(&key), "PendingDeletion");
    fixture.pass_ms(1);
    assert_eq!(fixture.code("DescribeKey", &json!({ "KeyId": key })), "NotFoundException");
    assert_eq!(fixture.code("CancelKeyDeletion", &json!({ "KeyId": key })), "NotFoundException");
    assert_eq!(fixture.code("Decrypt", &json!({ "CiphertextBlob": blob, "KeyId": key })), "NotFoundException");
    assert_eq!(fixture.code("Decrypt", &json!({ "CiphertextBlob": blob })), "AccessDeniedException");
    assert_eq!(fixture.code("DescribeKey", &json!({ "KeyId": "alias/gone" })), "NotFoundException");
    let id = key.parse().unwrap();
    let reading = fixture.kms.state.read().unwrap();
    let bytes = STANDARD.decode(text(&blob)).unwrap();
    let material = CiphertextBlob::parse(&bytes).unwrap().material;
    assert!(reading.material(id, material).unwrap().is_none(), "its material must be destroyed");

    fixture.ok("Decrypt", &json!({ "CiphertextBlob": kept }));
    assert_eq!(fixture.state("alias/kept"), "Enabled");
    let deletion: Vec<Value> =
        fixture.records().into_iter().filter(|record| record["eventName"] == "DeleteKey").collect();
    assert_eq!(deletion.len(), 1);
    assert_eq!(deletion[0]["eventType"], "AwsServiceEvent");
    assert_eq!(deletion[0]["serviceEventDetails"]["keyId"], key);
}

#[test]
fn a_cancelled_deletion_does_not_happen() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    fixture.ok("ScheduleKeyDeletion", &json!({ "KeyId": key, "PendingWindowInDays": 7 }));
    assert_eq!(fixture.ok("CancelKeyDeletion", &json!({ "KeyId": key }))["KeyId"], Fixture::arn(&key));
    fixture.pass_ms(31 * DAY_MS);
    assert_eq!(fixture.state(&key), "Disabled");
}

#[test]
fn the_waiting_period_is_7_to_30_days_and_30_by_default() {
    let fixture = Fixture::new();
    for (days, message) in [(6, "Member must have value greater than or equal to 7"), (31, "less than or equal to 30")]
    {
        let request = json!({ "KeyId": fixture.create_key(), "PendingWindowInDays": days });
        let (code, text) = fixture.call("ScheduleKeyDeletion", &request).unwrap_err();
        assert_eq!(code, "ValidationException");
        assert!(text.ends_with(message), "{text}");
    }
    for (request, days) in [(json!({}), 30), (json!({ "PendingWindowInDays": 30 }), 30)] {
        let mut request = request;
        request["KeyId"] = json!(fixture.create_key());
        assert_eq!(fixture.ok("ScheduleKeyDeletion", &request)["PendingWindowInDays"], days);
    }
}
