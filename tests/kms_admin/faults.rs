//! Faults are what a client sees, and end.

use super::*;

#[test]
fn latency_and_throttling_are_of_one_operation_or_of_all_and_end() {
    let host = Host::new();
    let random = json!({ "NumberOfBytes": 8 });
    let seconds = |method: &str, parameters: &Value| {
        let called = call(&host, ADMIN, method, parameters);
        assert_eq!(called["code"], "", "{called}");
        called["seconds"].as_f64().unwrap()
    };
    kms(&host, &["fault", "latency", "3s", "--operation", "GenerateRandom"]).expect_code(0);
    assert!(seconds("generate_random", &random) >= 3.0);
    assert!(seconds("list_keys", &json!({})) < 3.0);
    kms(&host, &["fault", "latency", "2s"]).expect_code(0);
    assert!(seconds("list_keys", &json!({})) >= 2.0);
    assert!(seconds("generate_random", &random) >= 3.0);
    kms(&host, &["fault", "clear"]).expect_code(0);
    assert!(seconds("generate_random", &random) < 2.0);

    let refused = |method: &str, parameters: &Value| code(&host, ADMIN, method, parameters);
    kms(&host, &["fault", "throttle", "--operation", "GenerateRandom"]).expect_code(0);
    assert_eq!(refused("generate_random", &random), "ThrottlingException");
    assert_eq!(refused("list_keys", &json!({})), "");
    kms(&host, &["fault", "throttle", "--for", "12s"]).expect_code(0);
    assert_eq!(refused("list_keys", &json!({})), "ThrottlingException");
    let listed = json(&host, &["fault", "list"])["faults"].as_array().unwrap().clone();
    let for_all = listed.iter().find(|fault| fault["operation"].is_null()).unwrap();
    assert!((1..=12_000).contains(&for_all["left_ms"].as_u64().unwrap()), "{for_all}");
    assert!(kms(&host, &["fault", "list"]).stdout.contains("every operation: throttles 100 % of the calls, for "));
    wait_until("the end of the fault", DEADLINE, || refused("list_keys", &json!({})).is_empty());
    assert_eq!(refused("generate_random", &random), "ThrottlingException");
    kms(&host, &["fault", "clear"]).expect_code(0);
    assert_eq!(refused("generate_random", &random), "");
    assert_eq!(kms(&host, &["fault", "list"]).stdout.trim(), "no faults");
}

#[test]
fn an_outage_is_seen_in_each_of_its_three_kinds() {
    let host = Host::new();
    let random = json!({ "NumberOfBytes": 8 });
    for (kind, status, code_seen) in [
        ("internal-error", 500, "KMSInternalException"),
        ("unavailable", 503, "503"),
        ("silence", 0, "ReadTimeoutError"),
    ] {
        kms(&host, &["fault", "outage", "--answer", kind, "--operation", "GenerateRandom"]).expect_code(0);
        let called = call(&host, ADMIN, "generate_random", &random);
        assert_eq!((&called["status"], &called["code"]), (&json!(status), &json!(code_seen)), "{called}");
        assert_eq!(code(&host, ADMIN, "list_keys", &json!({})), "");
        // In place of the one for an operation: one for all.
        kms(&host, &["fault", "clear"]).expect_code(0);
        assert_eq!(code(&host, ADMIN, "generate_random", &random), "");
    }
    kms(&host, &["fault", "outage"]).expect_code(0);
    assert_eq!(call(&host, ADMIN, "list_keys", &json!({}))["status"], 503);
    // The administrator's way is open while it is out, and for envol it is an outage.
    kms(&host, &["principal", "list"]).expect_code(0);
    host.envol(&["create", "--db-id", "db-A", "--size", "16MiB", "--kms-key", "alias/test"]).expect_code(5);
    kms(&host, &["fault", "clear"]).expect_code(0);
    host.create(&["--size", "16MiB"]);
}

#[test]
fn a_grant_is_seen_when_it_has_spread_and_with_its_token_at_once() {
    let host = Host::new();
    kms(&host, &["principal", "create", "alice"]).expect_code(0);
    let blob = sealed(&host, &json!({ "a": "b" }));
    let key = host.key_id();
    let grant = json!({
        "KeyId": key, "GranteePrincipal": "arn:aws:iam::111122223333:user/alice", "Operations": ["Decrypt"]
    });
    let decrypts = |parameters: &Value| code(&host, "alice", "decrypt", parameters);
    kms(&host, &["fault", "propagation", "1h"]).expect_code(0);
    let granted = call(&host, ADMIN, "create_grant", &grant);
    assert_eq!(granted["code"], "", "{granted}");
    assert_eq!(decrypts(&blob), "AccessDeniedException");
    let mut with_token = blob.clone();
    with_token["GrantTokens"] = json!([granted["answer"]["GrantToken"]]);
    assert_eq!(decrypts(&with_token), "");
    assert!(kms(&host, &["fault", "list"]).stdout.contains("changes are seen after 3600000 ms"));
    kms(&host, &["fault", "clear"]).expect_code(0);
    assert_eq!(decrypts(&blob), "");

    // Revoking spreads as slowly, and ends the token at once.
    kms(&host, &["fault", "propagation", "15s"]).expect_code(0);
    let revoke = json!({ "KeyId": key, "GrantId": granted["answer"]["GrantId"] });
    assert_eq!(code(&host, ADMIN, "revoke_grant", &revoke), "");
    assert_eq!(decrypts(&blob), "");
    wait_until("the end of the grant", DEADLINE, || decrypts(&blob) == "AccessDeniedException");
    assert_eq!(decrypts(&with_token), "AccessDeniedException");
}

#[test]
fn with_the_clock_moved_on_a_key_is_gone_and_with_it_what_it_wrapped() {
    let host = Host::new();
    let lost = host.create(&["--size", "16MiB"]);
    let other = host.aws(&["create-key", "--query", "KeyMetadata.KeyId", "--output", "text"]).expect_code(0);
    let kept = ["create", "--db-id", "db-B", "--size", "16MiB", "--kms-key", other.stdout.trim()];
    let kept = host.envol(&kept).expect_code(0).stdout.trim().to_owned();
    let key = host.key_id();
    host.aws(&["schedule-key-deletion", "--key-id", &key, "--pending-window-in-days", "7"]).expect_code(0);
    kms(&host, &["fault", "clock", "--advance", "6d"]).expect_code(0);
    host.aws(&["describe-key", "--key-id", &key]).expect_code(0);
    let moved = kms(&host, &["fault", "clock", "--advance", "25h"]).expect_code(0).stdout;
    assert!(moved.contains("the clock of the keys says"), "{moved}");
    let gone =
        |method: &str, parameters: &Value| assert_eq!(code(&host, ADMIN, method, parameters), "NotFoundException");
    gone("describe_key", &json!({ "KeyId": key }));
    gone("cancel_key_deletion", &json!({ "KeyId": key }));
    gone("describe_key", &json!({ "KeyId": "alias/test" }));
    host.envol(&["attach", &lost, "--raw"]).expect_code(4).expect_stderr(&lost);
    // Clients' clocks were not moved: signatures are good, and so is every other key.
    host.envol(&["attach", &kept, "--raw"]).expect_code(0);
    kms(&host, &["fault", "clear"]).expect_code(0);
    gone("describe_key", &json!({ "KeyId": key }));
}
