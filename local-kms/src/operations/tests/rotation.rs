//! New material for a key, by the clock and on demand. What was encrypted before stays readable.

use serde_json::{Value, json};

use super::{DAY_MS, DAY_S, Fixture, START_S, text};

fn status(fixture: &Fixture, key: &str) -> Value {
    fixture.ok("GetKeyRotationStatus", &json!({ "KeyId": key }))
}

fn material(fixture: &Fixture, key: &str) -> String {
    text(&fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"]["CurrentKeyMaterialId"])
}

fn enable(fixture: &Fixture, key: &str, days: Option<i64>) {
    fixture.ok("EnableKeyRotation", &json!({ "KeyId": key, "RotationPeriodInDays": days }));
}

fn rotations_recorded(fixture: &Fixture, key: &str) -> usize {
    let is_one = |record: &Value| record["eventName"] == "RotateKey" && record["serviceEventDetails"]["keyId"] == key;
    fixture.records().iter().filter(|record| is_one(record)).count()
}

#[test]
fn the_period_is_90_to_2560_days_and_365_by_default() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    assert_eq!(status(&fixture, &key), json!({ "KeyId": key, "KeyRotationEnabled": false }));
    for (given, days) in [(None, 365), (Some(90), 90), (Some(2560), 2560)] {
        enable(&fixture, &key, given);
        let next = START_S + DAY_S * f64::from(days);
        let expected = json!({
            "KeyId": key, "KeyRotationEnabled": true, "RotationPeriodInDays": days, "NextRotationDate": next,
        });
        assert_eq!(status(&fixture, &key), expected);
    }
    for days in [89, 2561] {
        let request = json!({ "KeyId": key, "RotationPeriodInDays": days });
        assert_eq!(fixture.code("EnableKeyRotation", &request), "ValidationException");
    }
    fixture.ok("DisableKeyRotation", &json!({ "KeyId": key }));
    assert_eq!(status(&fixture, &key)["KeyRotationEnabled"], false);
}

#[test]
fn enabled_again_with_the_same_period_it_goes_on_as_it_was() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    enable(&fixture, &key, Some(90));
    let before = status(&fixture, &key);
    fixture.pass_ms(DAY_MS);
    enable(&fixture, &key, Some(90));
    assert_eq!(status(&fixture, &key), before);
    enable(&fixture, &key, Some(91));
    assert_eq!(status(&fixture, &key)["NextRotationDate"], START_S + DAY_S * 92.0);
}

#[test]
fn the_clock_rotates_a_key_and_old_ciphertexts_still_open() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let old = material(&fixture, &key);
    let blob = fixture.encrypt(&key, &json!({}));
    enable(&fixture, &key, Some(90));
    fixture.pass_ms(90 * DAY_MS - 1);
    assert_eq!(material(&fixture, &key), old);
    fixture.pass_ms(1);
    let new = material(&fixture, &key);
    assert_ne!(new, old);
    assert_eq!(rotations_recorded(&fixture, &key), 1);

    let fixture = fixture.reopened();
    let opened = fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_eq!((&opened["KeyMaterialId"], &opened["Plaintext"]), (&json!(old), &json!("c2VjcmV0")));
    let fresh = fixture.ok("GenerateDataKey", &json!({ "KeyId": key, "NumberOfBytes": 64 }));
    assert_eq!(fresh["KeyMaterialId"], json!(new));
    let moved = fixture.ok("ReEncrypt", &json!({ "CiphertextBlob": blob, "DestinationKeyId": key }));
    assert_eq!((&moved["SourceKeyMaterialId"], &moved["DestinationKeyMaterialId"]), (&json!(old), &json!(new)));

    assert_eq!(status(&fixture, &key)["NextRotationDate"], START_S + DAY_S * 180.0);
    fixture.pass_ms(90 * DAY_MS);
    assert_ne!(material(&fixture, &key), new);
    assert_eq!(rotations_recorded(&fixture, &key), 2);
}

#[test]
fn a_disabled_key_does_not_rotate_and_catches_up() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let old = material(&fixture, &key);
    enable(&fixture, &key, Some(90));
    fixture.ok("DisableKey", &json!({ "KeyId": key }));
    fixture.pass_ms(91 * DAY_MS);
    assert_eq!(material(&fixture, &key), old);
    assert_eq!(status(&fixture, &key)["KeyRotationEnabled"], true);
    fixture.ok("EnableKey", &json!({ "KeyId": key }));
    assert_ne!(material(&fixture, &key), old);
    assert_eq!(rotations_recorded(&fixture, &key), 1);
}

#[test]
fn rotation_that_was_switched_off_does_not_happen() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let old = material(&fixture, &key);
    enable(&fixture, &key, Some(90));
    fixture.ok("DisableKeyRotation", &json!({ "KeyId": key }));
    fixture.pass_ms(1000 * DAY_MS);
    assert_eq!(material(&fixture, &key), old);
}

#[test]
fn a_key_pending_deletion_says_it_is_not_rotated_and_goes_on_when_cancelled() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    enable(&fixture, &key, Some(90));
    let before = status(&fixture, &key);
    fixture.ok("ScheduleKeyDeletion", &json!({ "KeyId": key }));
    assert_eq!(status(&fixture, &key), json!({ "KeyId": key, "KeyRotationEnabled": false }));
    fixture.ok("CancelKeyDeletion", &json!({ "KeyId": key }));
    assert_eq!(status(&fixture, &key), before);
}

#[test]
fn rotation_on_demand_is_at_once_and_moves_no_date() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    enable(&fixture, &key, Some(90));
    let (before, old) = (status(&fixture, &key), material(&fixture, &key));
    let blob = fixture.encrypt(&key, &json!({}));
    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": key }));
    assert_ne!(material(&fixture, &key), old);
    assert_eq!(status(&fixture, &key), before);
    assert_eq!(fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }))["KeyMaterialId"], json!(old));
}

#[test]
fn a_key_is_rotated_on_demand_25_times_in_its_life() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    enable(&fixture, &key, Some(90));
    fixture.pass_ms(90 * DAY_MS);
    let request = json!({ "KeyId": key });
    (0..25).for_each(|_| drop(fixture.ok("RotateKeyOnDemand", &request)));
    assert_eq!(fixture.code("RotateKeyOnDemand", &request), "LimitExceededException");
    let before = material(&fixture, &key);
    fixture.pass_ms(90 * DAY_MS);
    assert_ne!(material(&fixture, &key), before, "those of the clock do not count, nor stop");
}

#[test]
fn no_rotation_on_demand_comes_just_before_one_of_the_clock() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    enable(&fixture, &key, Some(90));
    let twenty_minutes = 20 * 60 * 1000;
    fixture.pass_ms(90 * DAY_MS - twenty_minutes - 1);
    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": key }));
    fixture.pass_ms(1);
    assert_eq!(fixture.code("RotateKeyOnDemand", &json!({ "KeyId": key })), "ConflictException");
    fixture.pass_ms(twenty_minutes);
    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": key }));
}
