//! Tags of keys.

use serde_json::{Value, json};

use super::Fixture;

fn tag(key: &str, value: &str) -> Value {
    json!({ "TagKey": key, "TagValue": value })
}

fn listed(fixture: &Fixture, key: &str) -> Value {
    fixture.ok("ListResourceTags", &json!({ "KeyId": key }))["Tags"].clone()
}

#[test]
fn tags_are_set_replaced_and_taken_away() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    assert_eq!(listed(&fixture, &key), json!([]));
    fixture.ok("TagResource", &json!({ "KeyId": key, "Tags": [tag("team", "db"), tag("env", "prod")] }));
    fixture.ok("TagResource", &json!({ "KeyId": key, "Tags": [tag("env", ""), tag("Env", "x")] }));
    let fixture = fixture.reopened();
    assert_eq!(listed(&fixture, &key), json!([tag("Env", "x"), tag("env", ""), tag("team", "db")]));
    fixture.ok("UntagResource", &json!({ "KeyId": key, "TagKeys": ["env", "absent"] }));
    assert_eq!(listed(&fixture, &key), json!([tag("Env", "x"), tag("team", "db")]));
}

#[test]
fn a_tag_that_cannot_be_one_is_refused() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    for (tags, code) in [
        (json!([tag("aws:x", "")]), "TagException"),
        (json!([tag("AWS:x", "")]), "TagException"),
        (json!([tag("a", "1"), tag("a", "2")]), "TagException"),
        (json!([tag("", "")]), "ValidationException"),
        (json!([tag(&"k".repeat(129), "")]), "ValidationException"),
        (json!([tag("k", &"v".repeat(257))]), "ValidationException"),
    ] {
        assert_eq!(fixture.code("TagResource", &json!({ "KeyId": key, "Tags": tags })), code, "{tags}");
    }
    assert_eq!(fixture.code("TagResource", &json!({ "KeyId": key })), "ValidationException");
    assert_eq!(fixture.code("UntagResource", &json!({ "KeyId": key })), "ValidationException");
    assert_eq!(fixture.code("UntagResource", &json!({ "KeyId": key, "TagKeys": ["aws:x"] })), "TagException");
    assert_eq!(listed(&fixture, &key), json!([]));
    fixture.ok("TagResource", &json!({ "KeyId": key, "Tags": [tag(&"k".repeat(128), &"é".repeat(256))] }));
}

#[test]
fn a_key_has_50_tags_at_most() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let tags: Vec<Value> = (0..50).map(|i| tag(&format!("k{i:02}"), "v")).collect();
    fixture.ok("TagResource", &json!({ "KeyId": key, "Tags": tags }));
    assert_eq!(fixture.code("TagResource", &json!({ "KeyId": key, "Tags": [tag("more", "v")] })), "TagException");
    fixture.ok("TagResource", &json!({ "KeyId": key, "Tags": [tag("k00", "other")] }));

    let first = fixture.ok("ListResourceTags", &json!({ "KeyId": key, "Limit": 30 }));
    assert_eq!(first["Truncated"], true);
    let second = fixture.ok("ListResourceTags", &json!({ "KeyId": key, "Limit": 30, "Marker": first["NextMarker"] }));
    assert_eq!((&second["Truncated"], second.get("NextMarker")), (&json!(false), None));
    let count = |page: &Value| page["Tags"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&second)), (30, 20));
    assert_eq!(fixture.code("ListResourceTags", &json!({ "KeyId": key, "Limit": 51 })), "ValidationException");
}
