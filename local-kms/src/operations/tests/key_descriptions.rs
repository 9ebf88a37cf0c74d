//! Descriptions of keys.

use serde_json::{Value, json};

use super::Fixture;

#[test]
fn a_description_is_replaced() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let update = |description: Value| {
        fixture.call("UpdateKeyDescription", &json!({ "KeyId": key, "Description": description })).map_err(|e| e.0)
    };
    let described = || fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"]["Description"].clone();
    assert_eq!(described(), "");
    update(json!("volumes")).unwrap();
    assert_eq!(described(), "volumes");
    assert_eq!(update(json!("x".repeat(8193))), Err("ValidationException"));
    assert_eq!(update(Value::Null), Err("ValidationException"));
    assert_eq!(described(), "volumes");
    update(json!("é".repeat(8192))).unwrap();
    update(json!("")).unwrap();
    assert_eq!(described(), "");
}
