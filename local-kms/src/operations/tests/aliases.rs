//! Aliases: what they may be called, what they resolve to, and who resolves them.

use serde_json::{Value, json};

use super::{Fixture, text};

fn create(name: &str, key: &str) -> Value {
    json!({ "AliasName": name, "TargetKeyId": key })
}

fn names(page: &Value) -> Vec<String> {
    page["Aliases"].as_array().unwrap().iter().map(|alias| text(&alias["AliasName"])).collect()
}

#[test]
fn an_alias_resolves_by_name_and_arn_until_it_is_deleted() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.create_key(), fixture.create_key());
    let described = |name: &str| text(&fixture.ok("DescribeKey", &json!({ "KeyId": name }))["KeyMetadata"]["KeyId"]);
    fixture.ok("CreateAlias", &create("alias/db", &first));
    assert_eq!(described("alias/db"), first);
    assert_eq!(described("arn:aws:kms:us-east-1:111122223333:alias/db"), first);
    fixture.pass_ms(1000);
    fixture.ok("UpdateAlias", &create("alias/db", &Fixture::arn(&second)));
    assert_eq!(described("alias/db"), second);
    let alias = fixture.ok("ListAliases", &json!({}))["Aliases"][0].clone();
    assert_eq!(alias["TargetKeyId"], second);
    assert_eq!(alias["AliasArn"], "arn:aws:kms:us-east-1:111122223333:alias/db");
    assert_eq!(alias["LastUpdatedDate"].as_f64().unwrap() - alias["CreationDate"].as_f64().unwrap(), 1.0);
    fixture.ok("DeleteAlias", &json!({ "AliasName": "alias/db" }));
    let gone = "Alias arn:aws:kms:us-east-1:111122223333:alias/db is not found.".to_owned();
    for (operation, request) in [
        ("DescribeKey", json!({ "KeyId": "alias/db" })),
        ("DeleteAlias", json!({ "AliasName": "alias/db" })),
        ("UpdateAlias", create("alias/db", &first)),
    ] {
        assert_eq!(fixture.call(operation, &request).unwrap_err(), ("NotFoundException", gone.clone()), "{operation}");
    }
}

#[test]
fn management_operations_take_no_alias() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    fixture.ok("CreateAlias", &create("alias/db", &key));
    let refusal = ("NotFoundException", "Invalid keyId 'alias/db'".to_owned());
    for operation in ["EnableKey", "DisableKey", "ScheduleKeyDeletion", "CancelKeyDeletion", "ListAliases"] {
        assert_eq!(fixture.call(operation, &json!({ "KeyId": "alias/db" })).unwrap_err(), refusal, "{operation}");
    }
    assert_eq!(fixture.call("CreateAlias", &create("alias/b", "alias/db")).unwrap_err(), refusal);
    assert_eq!(fixture.state("alias/db"), "Enabled");
}

#[test]
fn names_are_checked() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let longest = format!("alias/{}", "a".repeat(250));
    fixture.ok("CreateAlias", &create("alias/a-Z_0/9", &key));
    fixture.ok("CreateAlias", &create(&longest, &key));
    assert_eq!(fixture.code("CreateAlias", &create("alias/a-Z_0/9", &key)), "AlreadyExistsException");
    for (name, code) in [
        ("db", "ValidationException"),
        ("alias/", "ValidationException"),
        ("alias/a b", "ValidationException"),
        ("alias/a:b", "ValidationException"),
        (&format!("{longest}a"), "ValidationException"),
        ("alias/aws/ebs", "NotAuthorizedException"),
    ] {
        assert_eq!(fixture.code("CreateAlias", &create(name, &key)), code, "{name}");
    }
}

#[test]
fn a_key_has_at_most_fifty_aliases() {
    let fixture = Fixture::new();
    let (key, other) = (fixture.create_key(), fixture.create_key());
    for i in 0..50 {
        fixture.ok("CreateAlias", &create(&format!("alias/{i:02}"), &key));
    }
    assert_eq!(fixture.code("CreateAlias", &create("alias/50", &key)), "LimitExceededException");
    fixture.ok("CreateAlias", &create("alias/50", &other));
    assert_eq!(fixture.code("UpdateAlias", &create("alias/50", &key)), "LimitExceededException");
    fixture.ok("UpdateAlias", &create("alias/07", &key));

    let first = fixture.ok("ListAliases", &json!({}));
    assert_eq!((names(&first).len(), &first["Truncated"]), (50, &json!(true)));
    let rest = fixture.ok("ListAliases", &json!({ "Marker": first["NextMarker"] }));
    assert_eq!((names(&rest), &rest["Truncated"]), (vec!["alias/50".to_owned()], &json!(false)));
    assert_eq!(names(&fixture.ok("ListAliases", &json!({ "KeyId": other }))), ["alias/50"]);
    let two = fixture.ok("ListAliases", &json!({ "KeyId": key, "Limit": 2 }));
    assert_eq!(names(&two), ["alias/00", "alias/01"]);
    assert_eq!(fixture.code("ListAliases", &json!({ "Limit": 101 })), "ValidationException");
}
