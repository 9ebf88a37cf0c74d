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

/// Each backticked word of the promises' tables that is a file of tests, or the name of one.
#[test]
fn every_test_that_holds_a_promise_exists() {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests", "local-kms", "kms-client", "bench/tests", "races/tests", "fuzz/tests"] {
        read_rust(&repo.join(folder), &mut code);
    }
    let exists = |name: &str| match name.contains('/') {
        true => repo.join(name).exists(),
        false => code.contains(&format!("fn {name}(")) || code.contains(&format!("    {name}(")),
    };
    assert!(!exists("no_test_has_this_name") && !exists("tests/no_such_file.rs"), "the control");
    let page = fs::read_to_string(repo.join("docs/specification.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")).collect();
    let mut missing = Vec::new();
    for row in rows.iter().filter(|row| !row.ends_with("| held by |")) {
        let names: Vec<&str> = row.rsplit(" | ").next().unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "nothing holds this: {row}");
        missing.extend(names.into_iter().filter(|name| !exists(name)));
    }
    assert!(rows.len() > 40 && missing.is_empty(), "{} rows; not there: {missing:?}", rows.len());
}

fn read_rust(folder: &Path, code: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_rust(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
