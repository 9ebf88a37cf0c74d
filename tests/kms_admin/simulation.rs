//! Simulation says what the server then does.

use super::*;

/// What is simulated, the call that it stands for, and whether it is allowed.
struct Case<'a> {
    principal: &'a str,
    profile: &'a str,
    method: &'a str,
    parameters: Value,
    simulated: &'a [&'a str],
    allowed: bool,
}

#[test]
fn simulate_says_what_the_server_then_does() {
    let host = Host::new();
    let policy = identity_policy(&host, "encrypt.json", &["kms:Encrypt", "kms:ListAliases"]);
    for create in [
        &["alice"][..],
        &["bob"],
        &["role/app", "--trusts", "alice"],
        &["rds.us-east-1.amazonaws.com", "--acting-for", "alice"],
    ] {
        kms(&host, &[&["principal", "create"], create].concat()).expect_code(0);
    }
    kms(&host, &["principal", "attach-policy", "bob", &policy]).expect_code(0);
    let alice = "arn:aws:iam::111122223333:user/alice";
    put_key_policy(
        &host,
        &[
            json!({ "Sid": "For db-A", "Effect": "Allow", "Principal": { "AWS": alice }, "Action": "kms:Decrypt",
                "Resource": "*", "Condition": { "StringEquals": { "kms:EncryptionContext:aws:rds:db-id": "db-A" } } }),
            json!({ "Sid": "Through RDS", "Effect": "Allow", "Principal": { "AWS": alice },
                "Action": "kms:GenerateDataKey*", "Resource": "*",
                "Condition": { "StringEquals": { "kms:ViaService": "rds.us-east-1.amazonaws.com" } } }),
            json!({ "Sid": "Never tag", "Effect": "Deny", "Principal": "*", "Action": "kms:TagResource",
                "Resource": "*" }),
        ],
    );
    let grant =
        ["create-grant", "--key-id", &host.key_id(), "--grantee-principal", "arn:aws:iam::111122223333:role/app"];
    let constraints = ["--operations", "Decrypt", "--constraints", "EncryptionContextSubset={aws:ebs:id=vol-1}"];
    host.aws(&[&grant[..], &constraints].concat()).expect_code(0);

    let (of_a, of_b) = (json!({ "aws:rds:db-id": "db-A" }), json!({ "aws:rds:db-id": "db-B" }));
    let (of_one, of_two) = (json!({ "aws:ebs:id": "vol-1", "more": "x" }), json!({ "aws:ebs:id": "vol-2" }));
    let key = host.key_id();
    let encrypt = json!({ "KeyId": key, "Plaintext": "x" });
    let data_key = json!({ "KeyId": key, "NumberOfBytes": 64 });
    let tag = json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b" }] });
    let case = |principal, profile, method, parameters, simulated, allowed| Case {
        principal,
        profile,
        method,
        parameters,
        simulated,
        allowed,
    };
    let cases = [
        case(
            "alice",
            "alice",
            "decrypt",
            sealed(&host, &of_a),
            &["--action", "kms:Decrypt", "--context", "aws:rds:db-id=db-A"][..],
            true,
        ),
        case(
            "alice",
            "alice",
            "decrypt",
            sealed(&host, &of_b),
            &["--action", "kms:Decrypt", "--context", "aws:rds:db-id=db-B"],
            false,
        ),
        case("alice", "alice", "decrypt", sealed(&host, &json!({})), &["--action", "Decrypt"], false),
        case("alice", "alice", "generate_data_key", data_key.clone(), &["--action", "kms:GenerateDataKey"], false),
        case(
            "alice",
            "rds-for-alice",
            "generate_data_key",
            data_key.clone(),
            &["--action", "kms:GenerateDataKey", "--via-service", "rds.us-east-1.amazonaws.com"],
            true,
        ),
        case(
            "rds-for-alice",
            "rds-for-alice",
            "generate_data_key",
            data_key,
            &["--action", "kms:GenerateDataKey"],
            true,
        ),
        case("bob", "bob", "encrypt", encrypt.clone(), &["--action", "kms:Encrypt"], true),
        case(
            "bob",
            "bob",
            "decrypt",
            sealed(&host, &of_a),
            &["--action", "kms:Decrypt", "--context", "aws:rds:db-id=db-A"],
            false,
        ),
        case("alice", "alice", "encrypt", encrypt, &["--action", "kms:Encrypt"], false),
        case(
            "role/app",
            "app",
            "decrypt",
            sealed(&host, &of_one),
            &["--action", "kms:Decrypt", "--context", "aws:ebs:id=vol-1", "--context", "more=x"],
            true,
        ),
        case(
            "role/app",
            "app",
            "decrypt",
            sealed(&host, &of_two),
            &["--action", "kms:Decrypt", "--context", "aws:ebs:id=vol-2"],
            false,
        ),
        case(ADMIN, ADMIN, "tag_resource", tag, &["--action", "kms:TagResource"], false),
        case(ADMIN, ADMIN, "list_resource_tags", json!({ "KeyId": key }), &["--action", "kms:ListResourceTags"], true),
        case("root", "root", "describe_key", json!({ "KeyId": key }), &["--action", "kms:DescribeKey"], true),
    ];
    kms(&host, &["principal", "create", "root"]).expect_code(0);
    let simulations: Vec<Vec<&str>> = cases
        .iter()
        .map(|case| [&["simulate", "--principal", case.principal, "--key", "alias/test"], case.simulated].concat())
        .collect();
    let said: Vec<Value> = simulations.iter().map(|arguments| json(&host, arguments)).collect();
    for (case, said) in cases.iter().zip(&said) {
        assert_eq!(said["allowed"], case.allowed, "{} {}: {said}", case.principal, case.method);
        let called = call(&host, case.profile, case.method, &case.parameters);
        let expected = if case.allowed { "" } else { "AccessDeniedException" };
        assert_eq!(called["code"], expected, "{} {}: {called}", case.principal, case.method);
        // The server names the same reason, unless it must not tell that there is such a key.
        let (message, reason) = (called["message"].as_str().unwrap(), said["reason"].as_str().unwrap());
        let reason = reason.split(" (").next().unwrap();
        let hidden = message.starts_with("The ciphertext refers to a customer master key that does not exist");
        assert!(case.allowed || hidden || message.ends_with(reason), "{message}: {reason}");
    }
    for (action, profile, allowed) in [("kms:ListAliases", "bob", true), ("kms:ListAliases", "alice", false)] {
        let said = json(&host, &["simulate", "--principal", profile, "--action", action]);
        assert_eq!(said["allowed"], allowed, "{said}");
        assert_eq!(code(&host, profile, "list_aliases", &json!({})).is_empty(), allowed);
    }

    // Which condition fails, what it wants and what is; and which grant.
    let wrong_context = &said[1];
    let for_a = wrong_context["statements"].as_array().unwrap().iter().find(|statement| statement["sid"] == "For db-A");
    let failed = &for_a.unwrap()["failed_conditions"][0];
    assert_eq!((&failed["wanted"], &failed["actual"]), (&json!(["db-A"]), &json!(["db-B"])), "{wrong_context}");
    let text = kms(&host, &simulations[1]).expect_code(0).stdout;
    assert!(text.starts_with("denied: ") && text.contains("wants db-A; is db-B"), "{text}");
    let text = kms(&host, &simulations[3]).expect_code(0).stdout;
    assert!(text.contains("kms:ViaService: wants rds.us-east-1.amazonaws.com; is not in this call"), "{text}");
    let text = kms(&host, &simulations[10]).expect_code(0).stdout;
    assert!(text.contains("is for another encryption context"), "{text}");
    let text = kms(&host, &simulations[9]).expect_code(0).stdout;
    assert!(text.starts_with("allowed: grant "), "{text}");

    // A disabled key is allowed to whom it was, and of no use; and without a server all is said as with it.
    host.disable_key();
    let disabled = json(&host, &simulations[0]);
    assert_eq!((&disabled["allowed"], &disabled["key_usable"]), (&json!(true), &json!(false)), "{disabled}");
    assert_eq!(code(&host, "alice", "decrypt", &cases[0].parameters), "DisabledException");
    host.enable_key();
    host.end_kms();
    for (arguments, said) in simulations.iter().zip(&said) {
        assert_eq!(json(&host, arguments), *said);
    }
}
