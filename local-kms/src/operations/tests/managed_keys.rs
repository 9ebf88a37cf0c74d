//! The keys of services: made when first asked for, used through the service, changed by nobody.

use serde_json::{Value, json};

use super::principals::{ALICE, ROOT, document, says};
use super::{DAY_MS, Fixture, text};

const ALIASES: [(&str, &str); 2] = [("ec2", "alias/aws/ebs"), ("rds", "alias/aws/rds")];

fn data_key(key: &str) -> Value {
    json!({ "KeyId": key, "NumberOfBytes": 64 })
}

#[test]
fn a_services_key_is_made_once_and_used_through_the_service() {
    let fixture = Fixture::new();
    fixture.create(ALICE);
    let services = ALIASES.map(|(service, _)| fixture.create_acting(service, "user/alice"));
    for (i, (_, alias)) in ALIASES.into_iter().enumerate() {
        assert_eq!(fixture.ok("ListKeys", &json!({}))["Keys"].as_array().unwrap().len(), i);
        let first = fixture.call_as(&services[i], "GenerateDataKey", &data_key(alias)).unwrap();
        let second = fixture.call_as(&services[i], "GenerateDataKey", &data_key(alias)).unwrap();
        assert_eq!(first["KeyId"], second["KeyId"]);
        assert_eq!(fixture.ok("ListKeys", &json!({}))["Keys"].as_array().unwrap().len(), i + 1);
        let decrypt = json!({ "CiphertextBlob": first["CiphertextBlob"] });
        assert_eq!(fixture.call_as(&services[i], "Decrypt", &decrypt).unwrap()["Plaintext"], first["Plaintext"]);
        for who in [ALICE, "envol-admin", &services[1 - i]] {
            assert!(!fixture.may(who, "GenerateDataKey", &data_key(alias)), "{who} {alias}");
            assert!(!fixture.may(who, "Decrypt", &decrypt), "{who} {alias}");
        }
        let metadata = fixture.ok("DescribeKey", &json!({ "KeyId": alias }))["KeyMetadata"].clone();
        assert_eq!(metadata["KeyManager"], "AWS");
        assert_eq!(metadata["Arn"], first["KeyId"]);
    }
    assert_eq!(fixture.code("DescribeKey", &json!({ "KeyId": "alias/aws/other" })), "NotFoundException");
}

#[test]
fn looking_at_a_services_key_makes_it_too() {
    let fixture = Fixture::new();
    let describe = || fixture.ok("DescribeKey", &json!({ "KeyId": "alias/aws/ebs" }))["KeyMetadata"]["KeyId"].clone();
    assert_eq!(describe(), describe());
    let listed = fixture.ok("ListAliases", &json!({}))["Aliases"].clone();
    assert_eq!(listed[0]["AliasName"], "alias/aws/ebs");
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn nobody_changes_a_services_key() {
    let fixture = Fixture::new();
    fixture.create("root");
    let service = fixture.create_acting("ec2", "user/envol-admin");
    let managed = text(&fixture.ok("DescribeKey", &json!({ "KeyId": "alias/aws/ebs" }))["KeyMetadata"]["KeyId"]);
    let own = fixture.create_key();
    let policy = document(&[says("Allow", ROOT, "kms:*")]);
    let requests = |key: &str| {
        [
            ("TagResource", json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b" }] })),
            ("UntagResource", json!({ "KeyId": key, "TagKeys": ["a"] })),
            ("UpdateKeyDescription", json!({ "KeyId": key, "Description": "mine" })),
            ("PutKeyPolicy", json!({ "KeyId": key, "Policy": policy, "BypassPolicyLockoutSafetyCheck": true })),
            ("EnableKeyRotation", json!({ "KeyId": key, "RotationPeriodInDays": 90 })),
            ("DisableKeyRotation", json!({ "KeyId": key })),
            ("RotateKeyOnDemand", json!({ "KeyId": key })),
            ("DisableKey", json!({ "KeyId": key })),
            ("EnableKey", json!({ "KeyId": key })),
            ("ScheduleKeyDeletion", json!({ "KeyId": key })),
            ("CancelKeyDeletion", json!({ "KeyId": key })),
        ]
    };
    for who in ["envol-admin", "root", service.as_str()] {
        for (operation, request) in requests(&managed) {
            assert!(!fixture.may(who, operation, &request), "{who} {operation}");
        }
        let alias = json!({ "AliasName": "alias/mine", "TargetKeyId": managed });
        assert!(!fixture.may(who, "CreateAlias", &alias), "{who}");
        let of_service = [("DeleteAlias", managed.as_str()), ("UpdateAlias", &own), ("CreateAlias", &own)];
        for (operation, target) in of_service {
            let request = json!({ "AliasName": "alias/aws/ebs", "TargetKeyId": target });
            assert_eq!(
                fixture.call_as(who, operation, &request).unwrap_err().0,
                "NotAuthorizedException",
                "{operation}"
            );
        }
        assert!(fixture.may(who, "DescribeKey", &json!({ "KeyId": managed })), "{who}");
    }
    for (operation, request) in requests(&own) {
        assert!(fixture.may("root", operation, &request), "{operation} of one's own key");
    }
    assert_eq!(fixture.state(&managed), "Enabled");
}

#[test]
fn grants_on_a_services_key_are_made_through_the_service() {
    let fixture = Fixture::new();
    fixture.create(ALICE);
    let service = fixture.create_acting("ec2", "user/alice");
    let managed = text(&fixture.ok("DescribeKey", &json!({ "KeyId": "alias/aws/ebs" }))["KeyMetadata"]["KeyId"]);
    let grantee = "arn:aws:iam::111122223333:user/envol-volume";
    let request = json!({ "KeyId": managed, "GranteePrincipal": grantee, "Operations": ["Encrypt"] });
    assert!(!fixture.may(ALICE, "CreateGrant", &request));
    assert!(!fixture.may("envol-admin", "CreateGrant", &request));
    assert!(!fixture.may_encrypt("envol-volume", &managed));
    assert!(fixture.may(&service, "CreateGrant", &request));
    assert!(fixture.may_encrypt("envol-volume", &managed));
}

#[test]
fn a_services_key_rotates_every_year_by_itself() {
    let fixture = Fixture::new();
    let describe = || fixture.ok("DescribeKey", &json!({ "KeyId": "alias/aws/rds" }))["KeyMetadata"].clone();
    let before = describe();
    let status = fixture.ok("GetKeyRotationStatus", &json!({ "KeyId": before["KeyId"] }));
    assert_eq!((&status["KeyRotationEnabled"], &status["RotationPeriodInDays"]), (&json!(true), &json!(365)));
    fixture.pass_ms(365 * DAY_MS - 1);
    assert_eq!(describe()["CurrentKeyMaterialId"], before["CurrentKeyMaterialId"]);
    fixture.pass_ms(1);
    let after = describe();
    assert_eq!(after["KeyId"], before["KeyId"]);
    assert_ne!(after["CurrentKeyMaterialId"], before["CurrentKeyMaterialId"]);
}
