//! Which records are asked for: by key, by encryption context.

use serde_json::Value;

/// Everything given must hold; the empty filter takes every record.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// A key's id or ARN: the records of calls that touched the key or named it. An alias or its ARN: those of calls
    /// that named the alias.
    pub key: Option<String>,
    /// All of these pairs stand in one encryption context of the call, or in the constraint of the grant it makes.
    pub context: Vec<(String, String)>,
}

/// The parameters by which a call names a key or an alias.
const KEY_PARAMETERS: [&str; 5] = ["keyId", "aliasName", "targetKeyId", "sourceKeyId", "destinationKeyId"];

const CONTEXTS: [&str; 5] = [
    "/encryptionContext",
    "/sourceEncryptionContext",
    "/destinationEncryptionContext",
    "/constraints/encryptionContextSubset",
    "/constraints/encryptionContextEquals",
];

impl AuditFilter {
    pub(super) fn takes(&self, record: &Value) -> bool {
        self.key.as_ref().is_none_or(|key| concerns(record, key)) && self.takes_context(record)
    }

    fn takes_context(&self, record: &Value) -> bool {
        let parameters = &record["requestParameters"];
        let has_all = |context: &Value| {
            self.context.iter().all(|(name, value)| context.get(name).and_then(Value::as_str) == Some(value))
        };
        self.context.is_empty() || CONTEXTS.iter().filter_map(|path| parameters.pointer(path)).any(has_all)
    }
}

fn concerns(record: &Value, key: &str) -> bool {
    let resources = record["resources"].as_array().into_iter().flatten().map(|resource| &resource["ARN"]);
    let named = KEY_PARAMETERS.iter().map(|name| &record["requestParameters"][*name]);
    resources.chain(named).filter_map(Value::as_str).any(|found| is_same(key, found))
}

/// Two ARNs are the same whole; an id or an alias name says nothing of account and region.
fn is_same(one: &str, other: &str) -> bool {
    one == other || (short(one) == short(other) && !(one.starts_with("arn:") && other.starts_with("arn:")))
}

/// `arn:…:key/ID` as `ID`, `arn:…:alias/NAME` as `alias/NAME`.
fn short(reference: &str) -> &str {
    let resource = if reference.starts_with("arn:") { reference.splitn(6, ':').last() } else { None };
    resource.map_or(reference, |resource| resource.strip_prefix("key/").unwrap_or(resource))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "11111111-2222-3333-4444-555555555555";
    const OTHER_ID: &str = "99999999-2222-3333-4444-555555555555";
    const ALIAS: &str = "alias/orders";

    fn arn(resource: &str) -> String {
        format!("arn:aws:kms:us-east-1:111122223333:{resource}")
    }

    fn takes(key: Option<&str>, context: &[(&str, &str)], record: &Value) -> bool {
        let context = context.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        AuditFilter { key: key.map(str::to_owned), context }.takes(record)
    }

    #[test]
    fn a_key_is_found_by_id_and_arn_in_resources_and_parameters() {
        let touched = json!({ "resources": [{ "ARN": arn("key/other") }, { "ARN": arn(&format!("key/{ID}")) }] });
        let named = json!({ "requestParameters": { "keyId": ID }, "resources": [] });
        let named_by_arn = json!({ "requestParameters": { "keyId": arn(&format!("key/{ID}")) }, "resources": [] });
        for record in [&touched, &named, &named_by_arn] {
            assert!(takes(None, &[], record));
            assert!(takes(Some(ID), &[], record), "{record}");
            assert!(takes(Some(&arn(&format!("key/{ID}"))), &[], record), "{record}");
            for other in [OTHER_ID, &arn(&format!("key/{OTHER_ID}")), &ID[1..], ALIAS, ""] {
                assert!(!takes(Some(other), &[], record), "{other} in {record}");
            }
        }
        // The same id in another region is another key.
        let elsewhere = arn(&format!("key/{ID}")).replace("us-east-1", "eu-west-1");
        assert!(!takes(Some(&elsewhere), &[], &touched));
        assert!(!takes(Some(ID), &[], &json!({ "requestParameters": null, "resources": [] })));
    }

    #[test]
    fn an_alias_is_found_where_it_was_named() {
        let through_it = json!({ "requestParameters": { "keyId": ALIAS }, "resources": [{ "ARN": arn("key/k") }] });
        let made = json!({ "requestParameters": { "aliasName": ALIAS, "targetKeyId": ID } });
        let touched = json!({ "resources": [{ "ARN": arn(ALIAS) }] });
        for record in [&through_it, &made, &touched] {
            assert!(takes(Some(ALIAS), &[], record), "{record}");
            assert!(takes(Some(&arn(ALIAS)), &[], record), "{record}");
            assert!(!takes(Some("alias/order"), &[], record), "{record}");
            assert!(!takes(Some("orders"), &[], record), "{record}");
        }
    }

    #[test]
    fn a_context_is_found_whole_wherever_a_call_has_one() {
        let pairs = json!({ "aws:ebs:id": "vol-1", "aws:rds:db-id": "db-A" });
        for parameters in [
            json!({ "encryptionContext": pairs }),
            json!({ "sourceEncryptionContext": pairs }),
            json!({ "destinationEncryptionContext": pairs }),
            json!({ "constraints": { "encryptionContextSubset": pairs } }),
            json!({ "constraints": { "encryptionContextEquals": pairs } }),
        ] {
            let record = json!({ "requestParameters": parameters });
            assert!(takes(None, &[("aws:ebs:id", "vol-1")], &record), "{record}");
            assert!(takes(None, &[("aws:rds:db-id", "db-A"), ("aws:ebs:id", "vol-1")], &record), "{record}");
            assert!(!takes(None, &[("aws:rds:db-id", "db-A"), ("aws:ebs:id", "vol-2")], &record), "{record}");
            assert!(!takes(None, &[("vol-1", "aws:ebs:id")], &record), "{record}");
        }
        let divided = json!({ "requestParameters": {
            "sourceEncryptionContext": { "a": "1" }, "destinationEncryptionContext": { "b": "2" },
        } });
        assert!(takes(None, &[("b", "2")], &divided));
        assert!(!takes(None, &[("a", "1"), ("b", "2")], &divided));
        assert!(!takes(None, &[("a", "1")], &json!({ "requestParameters": null })));
    }

    #[test]
    fn key_and_context_must_both_hold() {
        let record = json!({ "requestParameters": { "keyId": ID, "encryptionContext": { "a": "1" } } });
        assert!(takes(Some(ID), &[("a", "1")], &record));
        assert!(!takes(Some(OTHER_ID), &[("a", "1")], &record));
        assert!(!takes(Some(ID), &[("a", "2")], &record));
    }
}
