//! What the documentation tells to copy can be copied.

#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

use std::fs;
use std::path::Path;

use serde_json::Value;

#[test]
fn every_policy_in_the_aws_page_is_one() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/aws.md")).unwrap();
    let blocks: Vec<&str> = page.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(
        blocks.len(),
        5,
        "one each for the key, who creates, who serves without a grant, who revokes, snapshots"
    );
    let services = ["kms:", "kms:", "kms:", "kms:", "s3:"];
    for (block, service) in blocks.into_iter().zip(services) {
        let policy: Value = serde_json::from_str(block).unwrap_or_else(|error| panic!("{error} in:\n{block}"));
        assert_eq!(policy["Version"], "2012-10-17");
        let statements = policy["Statement"].as_array().unwrap();
        assert!(!statements.is_empty());
        for statement in statements {
            assert!(["Allow", "Deny"].contains(&statement["Effect"].as_str().unwrap()), "{statement}");
            let actions = match &statement["Action"] {
                Value::String(action) => vec![action.clone()],
                actions => serde_json::from_value(actions.clone()).unwrap(),
            };
            assert!(actions.iter().all(|action| action.starts_with(service)), "{statement}");
            assert!(statement["Resource"].is_string() && statement["Sid"].is_string(), "{statement}");
        }
    }
}
