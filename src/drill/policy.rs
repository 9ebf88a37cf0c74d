//! One Deny statement in a key policy, and the policy without it.

use kms_client::PrincipalArn;
use serde_json::{Value, json};

use crate::format::VolumeId;

/// Adds a statement that takes `Decrypt` for this one volume from this one principal. A Deny outranks every grant.
pub fn with_denial(policy: &str, sid: &str, principal: &PrincipalArn, volume: &VolumeId) -> Result<String, String> {
    let mut policy = parse(policy)?;
    statements(&mut policy)?.push(json!({
        "Sid": sid,
        "Effect": "Deny",
        "Principal": { "AWS": principal.as_str() },
        "Action": "kms:Decrypt",
        "Resource": "*",
        "Condition": { "StringEquals": { "kms:EncryptionContext:aws:ebs:id": volume.as_str() } },
    }));
    Ok(policy.to_string())
}

/// What to put in place of `current`: the original, to the letter, where nobody changed the policy meanwhile; else what
/// they made of it without our statement. None if there is nothing of ours in it.
pub fn without_denial(current: &str, sid: &str, original: &str, edited: &str) -> Result<Option<String>, String> {
    let mut policy = parse(current)?;
    if policy == parse(edited)? {
        return Ok(Some(original.to_owned()));
    }
    let list = statements(&mut policy)?;
    let before = list.len();
    list.retain(|statement| statement["Sid"] != sid);
    Ok((list.len() < before).then(|| policy.to_string()))
}

fn parse(policy: &str) -> Result<Value, String> {
    serde_json::from_str(policy).map_err(|error| format!("the key policy is no JSON: {error}"))
}

/// IAM allows one statement without a list around it.
fn statements(policy: &mut Value) -> Result<&mut Vec<Value>, String> {
    if let Some(single @ Value::Object(_)) = policy.get_mut("Statement") {
        *single = Value::Array(vec![single.take()]);
    }
    policy
        .get_mut("Statement")
        .and_then(Value::as_array_mut)
        .ok_or_else(|| "the key policy has no Statement".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: &str = r#"{ "Version":"2012-10-17",
        "Statement": [{"Sid":"Root","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},"Action":"kms:*","Resource":"*"}] }"#;

    fn edited(policy: &str) -> String {
        let grantee = "arn:aws:iam::111122223333:user/v".parse().unwrap();
        with_denial(policy, "EnvolDrill1", &grantee, &"vol-1".parse().unwrap()).unwrap()
    }

    fn sids(policy: &str) -> Vec<String> {
        let policy: Value = serde_json::from_str(policy).unwrap();
        let list = policy["Statement"].as_array().unwrap().iter();
        list.map(|statement| statement["Sid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_denial_is_added_and_is_for_one_volume() {
        let edited: Value = serde_json::from_str(&edited(ORIGINAL)).unwrap();
        assert_eq!(edited["Version"], "2012-10-17");
        let [kept, added] = &edited["Statement"].as_array().unwrap()[..] else { panic!("two") };
        assert_eq!(kept["Sid"], "Root");
        assert_eq!((&added["Effect"], &added["Action"]), (&json!("Deny"), &json!("kms:Decrypt")));
        assert_eq!(added["Condition"]["StringEquals"]["kms:EncryptionContext:aws:ebs:id"], "vol-1");
    }

    #[test]
    fn an_untouched_policy_becomes_the_original_to_the_letter() {
        let edited = edited(ORIGINAL);
        let spaced = edited.replace(',', " , ");
        for current in [&edited, &spaced] {
            let back = without_denial(current, "EnvolDrill1", ORIGINAL, &edited).unwrap();
            assert_eq!(back.as_deref(), Some(ORIGINAL));
        }
    }

    #[test]
    fn what_somebody_else_changed_stays() {
        let edited = edited(ORIGINAL);
        let theirs = edited.replace("\"Root\"", "\"Renamed\"");
        let back = without_denial(&theirs, "EnvolDrill1", ORIGINAL, &edited).unwrap().unwrap();
        assert_eq!(sids(&back), ["Renamed"]);
        assert_eq!(without_denial(ORIGINAL, "EnvolDrill1", ORIGINAL, &edited).unwrap(), None, "undone already");
    }

    #[test]
    fn a_single_statement_needs_no_list() {
        let single = r#"{"Statement":{"Sid":"Only","Effect":"Allow"}}"#;
        assert_eq!(sids(&edited(single)), ["Only", "EnvolDrill1"]);
        assert!(
            with_denial("{}", "s", &"arn:aws:iam::111122223333:root".parse().unwrap(), &"vol-1".parse().unwrap())
                .is_err()
        );
        assert!(without_denial("no", "s", ORIGINAL, ORIGINAL).is_err());
    }
}
