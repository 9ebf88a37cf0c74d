//! What a drill keeps to undo what it did, and the policies of others that it changes.

use envol::drill::UndoRecord;
use envol::drill::policy::{with_denial, without_denial};

use serde_json::Value;

use super::json;
use crate::patch::choice;

pub(super) fn drill(data: &[u8]) {
    let (kind, text) = choice(data);
    if kind % 2 == 0 {
        drop(json::read::<UndoRecord>(text));
        return;
    }
    let policy = String::from_utf8_lossy(text);
    let principal = "arn:aws:iam::111122223333:user/v".parse().expect("an ARN");
    let Ok(edited) = with_denial(&policy, "EnvolDrill", &principal, &"vol-1".parse().expect("an id")) else { return };
    assert_eq!(without_denial(&edited, "EnvolDrill", &policy, &edited), Ok(Some(policy.clone().into_owned())));
    let other = edited.replacen(r#""Sid":"EnvolDrill""#, r#""Sid":"EnvolDrill","Id":0"#, 1);
    if other != edited {
        let rest = without_denial(&other, "EnvolDrill", &policy, &edited).expect("a policy");
        let rest: Value = serde_json::from_str(&rest.expect("the statement was there")).expect("JSON");
        let left = rest["Statement"].as_array().expect("a list");
        assert!(left.iter().all(|statement| statement["Sid"] != "EnvolDrill"));
    }
}
