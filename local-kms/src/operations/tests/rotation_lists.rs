//! ListKeyRotations: how a key came to the material it has.

use serde_json::{Value, json};

use super::{DAY_MS, DAY_S, Fixture, START_S};

/// A key that was rotated by the clock after 90 days, and on demand one day later.
fn rotated() -> (Fixture, String, Vec<Value>) {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let mut materials = Vec::new();
    let mut note = || {
        let material =
            fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"]["CurrentKeyMaterialId"].clone();
        materials.push(material);
    };
    fixture.ok("EnableKeyRotation", &json!({ "KeyId": key, "RotationPeriodInDays": 90 }));
    note();
    fixture.pass_ms(90 * DAY_MS);
    note();
    fixture.pass_ms(DAY_MS);
    fixture.ok("RotateKeyOnDemand", &json!({ "KeyId": key }));
    note();
    (fixture, key, materials)
}

#[test]
fn rotations_say_when_and_why() {
    let (fixture, key, materials) = rotated();
    let entry =
        |i: usize, state: &str| json!({ "KeyId": key, "KeyMaterialId": materials[i], "KeyMaterialState": state });
    let rotation = |i: usize, state: &str, days: f64, kind: &str| {
        let mut entry = entry(i, state);
        entry["RotationDate"] = json!(START_S + DAY_S * days);
        entry["RotationType"] = json!(kind);
        entry
    };
    let rotations = [rotation(1, "NON_CURRENT", 90.0, "AUTOMATIC"), rotation(2, "CURRENT", 91.0, "ON_DEMAND")];
    for request in [json!({ "KeyId": key }), json!({ "KeyId": key, "IncludeKeyMaterial": "ROTATIONS_ONLY" })] {
        let page = fixture.ok("ListKeyRotations", &request);
        assert_eq!(page, json!({ "Rotations": rotations, "Truncated": false }));
    }
    let all = fixture.ok("ListKeyRotations", &json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" }));
    let [automatic, on_demand] = rotations;
    assert_eq!(all["Rotations"], json!([entry(0, "NON_CURRENT"), automatic, on_demand]));
}

#[test]
fn a_key_that_was_never_rotated_lists_its_material_when_asked() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    assert_eq!(fixture.ok("ListKeyRotations", &json!({ "KeyId": key }))["Rotations"], json!([]));
    let all = fixture.ok("ListKeyRotations", &json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL" }));
    assert_eq!(all["Rotations"][0]["KeyMaterialState"], "CURRENT");
}

#[test]
fn pages_cover_all_material_once() {
    let (fixture, key, materials) = rotated();
    let mut request = json!({ "KeyId": key, "IncludeKeyMaterial": "ALL_KEY_MATERIAL", "Limit": 2 });
    let first = fixture.ok("ListKeyRotations", &request);
    assert_eq!(first["Truncated"], true);
    request["Marker"] = first["NextMarker"].clone();
    let second = fixture.ok("ListKeyRotations", &request);
    assert_eq!((&second["Truncated"], second.get("NextMarker")), (&json!(false), None));
    let listed: Vec<Value> = [first, second]
        .iter()
        .flat_map(|page| page["Rotations"].as_array().unwrap().clone())
        .map(|entry| entry["KeyMaterialId"].clone())
        .collect();
    assert_eq!(listed, materials);
    request["Marker"] = json!("AWE");
    assert_eq!(fixture.code("ListKeyRotations", &request), "InvalidMarkerException");
    let other = json!({ "KeyId": key, "IncludeKeyMaterial": "SOME" });
    assert_eq!(fixture.code("ListKeyRotations", &other), "ValidationException");
}
