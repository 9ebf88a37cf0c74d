//! Keys with several imported materials, one after the other.

use serde_json::{Value, json};

use super::imports::MATERIAL;
use super::{DAY_MS, DAY_S, Fixture, START_S, text};

const OTHER: [u8; 32] = [8; 32];

fn new_material() -> Value {
    json!({ "ImportType": "NEW_KEY_MATERIAL", "KeyMaterialDescription": "of next year" })
}

/// With a key that has material, and more that waits; the ids of both.
fn waiting() -> (Fixture, String, [String; 2]) {
    let fixture = Fixture::new();
    let key = fixture.create_external_key();
    let first = fixture.import(&key, &MATERIAL, &json!({})).unwrap();
    let second = fixture.import(&key, &OTHER, &new_material()).unwrap();
    let ids = [&first, &second].map(|imported| text(&imported["KeyMaterialId"]));
    (fixture, key, ids)
}

fn used(fixture: &Fixture, key: &str) -> String {
    text(&fixture.ok("GenerateDataKey", &json!({ "KeyId": key, "NumberOfBytes": 64 }))["KeyMaterialId"])
}

fn listed(fixture: &Fixture, key: &str) -> Vec<(String, String, String)> {
    let all = fixture.ok("ListKeyRotations", &json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" }));
    let entry =
        |entry: &Value| ["KeyMaterialId", "KeyMaterialState", "ImportState"].map(|member| text(&entry[member])).into();
    all["Rotations"].as_array().unwrap().iter().map(entry).collect()
}

fn entry(id: &str, state: &str, import: &str) -> (String, String, String) {
    (id.to_owned(), state.to_owned(), import.to_owned())
}

#[test]
fn new_material_waits_for_the_rotation_that_is_asked_for() {
    let (fixture, key, [first, second]) = waiting();
    let blob = fixture.encrypt(&key, &json!({}));
    assert_eq!(used(&fixture, &key), first);
    assert_eq!(
        listed(&fixture, &key),
        [entry(&first, "CURRENT", "IMPORTED"), entry(&second, "PENDING_ROTATION", "IMPORTED")]
    );
    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": key }));
    assert_eq!(used(&fixture, &key), second);
    assert_eq!(
        listed(&fixture, &key),
        [entry(&first, "NON_CURRENT", "IMPORTED"), entry(&second, "CURRENT", "IMPORTED")]
    );
    assert_eq!(fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }))["KeyMaterialId"], json!(first));
    let rotations = fixture.ok("ListKeyRotations", &json!({ "KeyId": key }))["Rotations"].clone();
    assert_eq!(rotations[0]["RotationType"], "ON_DEMAND");
    assert_eq!(rotations[0]["KeyMaterialDescription"], "of next year");

    let (code, message) = fixture.call("RotateKeyOnDemand", &json!({ "KeyId": key })).unwrap_err();
    assert_eq!(code, "KMSInvalidStateException", "no more waits");
    assert!(message.contains(&Fixture::arn(&key)), "{message}");
}

#[test]
fn one_material_waits_at_a_time_and_must_be_new() {
    let (fixture, key, [_, second]) = waiting();
    assert_eq!(fixture.import(&key, &[9; 32], &new_material()).unwrap_err().0, "KMSInvalidStateException");
    for known in [MATERIAL, OTHER] {
        assert_eq!(fixture.import(&key, &known, &new_material()).unwrap_err().0, "IncorrectKeyMaterialException");
    }
    let of_id = |material: &[u8; 32]| fixture.import(&key, material, &json!({ "KeyMaterialId": second }));
    assert_eq!(of_id(&MATERIAL).unwrap_err().0, "IncorrectKeyMaterialException");
    assert_eq!(of_id(&OTHER).unwrap()["KeyMaterialId"], json!(second));
    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": key }));
    fixture.import(&key, &[9; 32], &new_material()).unwrap();
}

#[test]
fn a_key_is_enabled_while_all_it_ever_used_is_here() {
    let (fixture, key, [first, second]) = waiting();
    let blob = fixture.encrypt(&key, &json!({}));
    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": key }));
    for id in [&first, &second] {
        fixture.ok("DeleteImportedKeyMaterial", &json!({ "KeyId": key, "KeyMaterialId": id }));
    }
    fixture.import(&key, &OTHER, &json!({})).unwrap();
    assert_eq!(fixture.state(&key), "PendingImport", "one of two");
    assert_eq!(
        listed(&fixture, &key),
        [entry(&first, "NON_CURRENT", "PENDING_IMPORT"), entry(&second, "CURRENT", "IMPORTED")]
    );
    fixture.import(&key, &MATERIAL, &json!({ "ImportType": "EXISTING_KEY_MATERIAL" })).unwrap();
    assert_eq!(fixture.state(&key), "Enabled");
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_eq!(used(&fixture, &key), second);
    let unknown = json!({ "KeyId": key, "KeyMaterialId": "0".repeat(64) });
    assert_eq!(fixture.code("DeleteImportedKeyMaterial", &unknown), "ValidationException");
}

#[test]
fn a_key_does_not_miss_material_that_it_never_used() {
    let (fixture, key, [first, second]) = waiting();
    fixture.ok("DeleteImportedKeyMaterial", &json!({ "KeyId": key, "KeyMaterialId": second }));
    assert_eq!(fixture.state(&key), "Enabled", "deleted");
    assert_eq!(listed(&fixture, &key), [entry(&first, "CURRENT", "IMPORTED")]);

    let mut expiring = new_material();
    expiring["ValidTo"] = json!(START_S + DAY_S);
    fixture.import(&key, &OTHER, &expiring).unwrap();
    fixture.pass_ms(DAY_MS);
    assert_eq!(fixture.state(&key), "Enabled", "expired");
    assert_eq!(listed(&fixture, &key), [entry(&first, "CURRENT", "IMPORTED")]);
    assert_eq!(used(&fixture, &key), first);
    assert_eq!(fixture.code("RotateKeyOnDemand", &json!({ "KeyId": key })), "KMSInvalidStateException");
}
