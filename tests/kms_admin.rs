//! `envol kms principal`, `simulate` and `fault`: what they say is what the server then does, whether it runs or not.
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail as the test does")]

mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use harness::{Host, Ran, ran, wait_until};
use serde_json::{Value, json};

const CALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kms_call.py");
const ADMIN: &str = "envol-admin";
/// For what happens by itself after some seconds, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// One call through boto3: `code` is empty if it succeeded.
fn call(host: &Host, profile: &str, method: &str, parameters: &Value) -> Value {
    let mut command = host.command("python3");
    let output = command.arg(CALL).args([profile, method, &parameters.to_string()]).output().expect("python3");
    let ran = ran(&output).expect_code(0);
    serde_json::from_str(&ran.stdout).expect("one JSON object")
}

fn code(host: &Host, profile: &str, method: &str, parameters: &Value) -> String {
    call(host, profile, method, parameters)["code"].as_str().unwrap().to_owned()
}

/// `aws kms …` with a profile, as a person types it.
fn aws(host: &Host, profile: &str, arguments: &[&str]) -> Ran {
    host.aws(&[arguments, &["--profile", profile]].concat())
}

/// `envol kms …`
fn kms(host: &Host, arguments: &[&str]) -> Ran {
    host.envol(&[&["kms"], arguments].concat())
}

fn json(host: &Host, arguments: &[&str]) -> Value {
    host.json(&[&["kms"], arguments].concat())
}

fn write(host: &Host, name: &str, text: &str) -> String {
    let path = host.root().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn identity_policy(host: &Host, name: &str, actions: &[&str]) -> String {
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    write(host, name, &json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string())
}

/// The default key policy, and `statements`.
fn put_key_policy(host: &Host, statements: &[Value]) {
    let mut all = vec![json!({
        "Sid": "Leave it to IAM", "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" },
        "Action": "kms:*", "Resource": "*"
    })];
    all.extend(statements.iter().cloned());
    let policy = json!({ "Version": "2012-10-17", "Statement": all }).to_string();
    host.aws(&["put-key-policy", "--key-id", &host.key_id(), "--policy", &policy]).expect_code(0);
}

fn socket(host: &Host) -> PathBuf {
    host.root().join("kms/admin.sock")
}

/// What a call may be made with: a ciphertext under `alias/test`, made by the administrator.
fn sealed(host: &Host, context: &Value) -> Value {
    let parameters = json!({ "KeyId": "alias/test", "NumberOfBytes": 64, "EncryptionContext": context });
    let answer = call(host, ADMIN, "generate_data_key_without_plaintext", &parameters);
    json!({ "CiphertextBlob": answer["answer"]["CiphertextBlob"], "EncryptionContext": context })
}

fn policy_names(host: &Host, principal: &str) -> Option<Value> {
    let listed = json(host, &["principal", "list"]);
    let principals = listed["principals"].as_array().unwrap().clone();
    principals.into_iter().find(|entry| entry["principal"] == principal).map(|entry| entry["policies"].clone())
}

#[test]
fn a_new_principal_calls_at_once_and_a_deleted_one_no_more() {
    let host = Host::new();
    for (served, name) in [(true, "alice"), (false, "bob")] {
        let principal = format!("user/{name}");
        let policy = identity_policy(&host, "describe.json", &["kms:DescribeKey"]);
        if !served {
            host.end_kms();
        }
        let created = kms(&host, &["principal", "create", name]).expect_code(0).stdout;
        assert!(created.contains(&format!("profile {name}")) && created.contains(&principal), "{created}");
        kms(&host, &["principal", "attach-policy", name, &policy]).expect_code(0);
        assert_eq!(policy_names(&host, &principal), Some(json!(["describe"])));
        assert!(kms(&host, &["principal", "list"]).expect_code(0).stdout.contains(&principal));
        if !served {
            host.start_kms();
        }
        aws(&host, name, &["describe-key", "--key-id", "alias/test"]).expect_code(0);
        let refused = aws(&host, name, &["list-aliases"]);
        assert_ne!(refused.code, 0);
        refused.expect_stderr("(AccessDeniedException)").expect_stderr(&format!("user/{name} is not authorized"));

        // Its policy goes, and then itself; its credentials with it, also for who kept them.
        kms(&host, &["principal", "attach-policy", &principal, "--remove", "describe"]).expect_code(0);
        aws(&host, name, &["describe-key", "--key-id", "alias/test"]).expect_stderr("(AccessDeniedException)");
        let kept = write(&host, "kept", &fs::read_to_string(host.root().join("kms/aws/credentials")).unwrap());
        if !served {
            host.end_kms();
        }
        kms(&host, &["principal", "delete", name]).expect_code(0);
        assert_eq!(policy_names(&host, &principal), None);
        if !served {
            host.start_kms();
        }
        let refused = aws(&host, name, &["list-aliases"]);
        refused.expect_stderr(&format!("The config profile ({name}) could not be found"));
        let mut with_kept = host.command("aws");
        let region = host.root().join("region");
        fs::write(&region, format!("[profile {name}]\nregion = us-east-1\n")).unwrap();
        with_kept.env("AWS_SHARED_CREDENTIALS_FILE", kept).env("AWS_CONFIG_FILE", region);
        let refused = ran(&with_kept.args(["kms", "list-aliases", "--profile", name]).output().unwrap());
        refused.expect_stderr("(UnrecognizedClientException)");
    }
    aws(&host, ADMIN, &["list-aliases"]).expect_code(0);
}

#[test]
fn roles_and_services_have_profiles_and_go_with_whom_they_act_for() {
    let host = Host::new();
    kms(&host, &["principal", "create", "alice"]).expect_code(0);
    kms(&host, &["principal", "create", "role/app", "--trusts", "alice"]).expect_code(0);
    let everything = identity_policy(&host, "all.json", &["kms:*"]);
    kms(&host, &["principal", "attach-policy", "role/app", &everything]).expect_code(0);
    let service = json(&host, &["principal", "create", "rds.us-east-1.amazonaws.com", "--acting-for", "alice"]);
    assert_eq!(service["profile"], "rds-for-alice", "{service}");
    assert_eq!(code(&host, "app", "describe_key", &json!({ "KeyId": "alias/test" })), "");
    aws(&host, "rds-for-alice", &["describe-key", "--key-id", "alias/test"])
        .expect_stderr("user/alice is not authorized");
    kms(&host, &["principal", "attach-policy", "alice", &everything]).expect_code(0);
    aws(&host, "rds-for-alice", &["describe-key", "--key-id", "alias/test"]).expect_code(0);

    let trust = write(
        &host,
        "trust.json",
        &json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:user/envol-admin" },
        "Action": "sts:AssumeRole" } })
        .to_string(),
    );
    kms(&host, &["principal", "create", "role/ops", "--trust-policy", &trust]).expect_code(0);
    let refused = call(&host, "ops", "list_aliases", &json!({}));
    assert!(refused["message"].as_str().unwrap().contains("assumed-role/ops/"), "{refused}");

    let deleted = json(&host, &["principal", "delete", "alice"]);
    assert_eq!(deleted["deleted"], json!(["user/alice", "rds.us-east-1.amazonaws.com for user/alice"]));
    aws(&host, "rds-for-alice", &["list-aliases"]).expect_stderr("could not be found");
}

/// The AWS CLI, with a home directory of its own to keep sessions in.
fn aws_at_home(host: &Host, home: &Path, profile: &str) -> Ran {
    let mut command = host.command("aws");
    if let (None, Some(home)) = (std::env::var_os("PYENV_ROOT"), std::env::home_dir()) {
        // Where pyenv looks for the AWS CLI.
        command.env("PYENV_ROOT", home.join(".pyenv"));
    }
    command.env("HOME", home).args(["kms", "describe-key", "--key-id", "alias/test", "--profile", profile]);
    ran(&command.output().unwrap())
}

#[test]
fn a_session_that_the_aws_cli_kept_is_not_used_with_another_role_of_the_same_name() {
    let home = tempfile::TempDir::new().unwrap();
    let (host, other) = (Host::new(), Host::new());
    let make_role = |host: &Host| {
        kms(host, &["principal", "create", "role/app", "--trusts", ADMIN]).expect_code(0);
        let policy = identity_policy(host, "all.json", &["kms:*"]);
        kms(host, &["principal", "attach-policy", "role/app", &policy]).expect_code(0);
    };
    for host in [&host, &other] {
        make_role(host);
        aws_at_home(host, home.path(), "app").expect_code(0);
    }
    assert!(home.path().join(".aws/cli/cache").is_dir(), "it keeps sessions");
    kms(&host, &["principal", "delete", "role/app"]).expect_code(0);
    make_role(&host);
    aws_at_home(&host, home.path(), "app").expect_code(0);
}

#[test]
fn only_the_owner_reaches_the_server_and_no_other_process_opens_the_state() {
    let host = Host::new();
    assert_eq!(fs::metadata(socket(&host)).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(host.root().join("kms")).unwrap().permissions().mode() & 0o777, 0o700);
    kms(&host, &["serve", "--listen", "127.0.0.1:0"]).expect_code(8).expect_stderr("in use by another process");
    // The socket goes on after that attempt.
    kms(&host, &["principal", "list"]).expect_code(0);

    // Also with the directory open to all, the socket is for its owner.
    let connect = "import os, socket, sys\n\
        os.setgroups([])\n\
        os.setuid(int(sys.argv[2]))\n\
        socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    let as_uid = |uid: &str| {
        let mut command = host.command("python3");
        ran(&command.args(["-c", connect]).arg(socket(&host)).arg(uid).output().unwrap())
    };
    fs::set_permissions(host.root().join("kms"), fs::Permissions::from_mode(0o711)).unwrap();
    as_uid("0").expect_code(0);
    as_uid("65534").expect_code(1).expect_stderr("PermissionError");
}

#[test]
fn what_is_wrong_is_said_by_code_2_or_3_and_changes_nothing() {
    let host = Host::new();
    for name in ["alice", "root"] {
        kms(&host, &["principal", "create", name]).expect_code(0);
    }
    let good = identity_policy(&host, "good.json", &["kms:Decrypt"]);
    let malformed =
        write(&host, "malformed.json", r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Perhaps"}]}"#);
    let with_principal = write(
        &host,
        "principal.json",
        r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": "*", "Action": "kms:*", "Resource": "*"}]}"#,
    );
    let no_json = write(&host, "no.json", "{");
    let missing = host.root().join("missing.json").to_str().unwrap().to_owned();
    let wrong: &[(&[&str], i32, &str)] = &[
        (&["principal", "create", "a b"], 2, "`a b` names no principal"),
        (&["principal", "create", "group/x"], 2, "names no principal"),
        (&["principal", "create", "alice"], 2, "there is a principal user/alice already"),
        (&["principal", "create", "role/alice", "--trusts", "alice"], 2, "profile alice"),
        (&["principal", "create", "role/x"], 2, "--trusts"),
        (&["principal", "create", "x", "--trusts", "alice"], 2, "is no role"),
        (&["principal", "create", "x", "--acting-for", "alice"], 2, "only a service acts for somebody"),
        (&["principal", "create", "rds.amazonaws.com", "--acting-for", "nobody"], 3, "no principal user/nobody"),
        (&["principal", "create", "role/x", "--trust-policy", &good], 2, "malformed"),
        (&["principal", "create", "role/x", "--trust-policy", &missing], 2, "missing.json"),
        (&["principal", "delete", "nobody"], 3, "`envol kms principal list` shows who there is"),
        (&["principal", "delete", ADMIN], 2, "is the administrator"),
        (&["principal", "attach-policy", "nobody", &good], 3, "there is no principal user/nobody"),
        (&["principal", "attach-policy", "root", &good], 2, "no identity policies"),
        (&["principal", "attach-policy", "alice", &malformed], 2, "the policy is malformed"),
        (&["principal", "attach-policy", "alice", &with_principal], 2, "the policy is malformed"),
        (&["principal", "attach-policy", "alice", &no_json], 2, "the policy is malformed"),
        (&["principal", "attach-policy", "alice", &missing], 2, "missing.json"),
        (&["principal", "attach-policy", "alice", &good, "--name", "a b"], 2, "`a b` is no name for a policy"),
        (&["principal", "attach-policy", "alice", "--remove", "good"], 3, "user/alice has no policy good"),
        (&["principal", "attach-policy", "alice"], 2, "FILE"),
        (&["simulate", "--principal", "nobody", "--action", "kms:Decrypt", "--key", "alias/test"], 3, "user/nobody"),
        (&["simulate", "--principal", "alice", "--action", "kms:Fly", "--key", "alias/test"], 2, "kms:Fly"),
        (&["simulate", "--principal", "alice", "--action", "kms:ReEncrypt", "--key", "alias/test"], 2, "ReEncryptFrom"),
        (&["simulate", "--principal", "alice", "--action", "kms:Decrypt"], 2, "--key"),
        (&["simulate", "--principal", "alice", "--action", "kms:ListKeys", "--key", "alias/test"], 2, "--key"),
        (&["simulate", "--principal", "alice", "--action", "kms:Decrypt", "--key", "alias/none"], 3, "alias/none"),
        (
            &["simulate", "--principal", "alice", "--action", "kms:Decrypt", "--key", "x", "--context", "a"],
            2,
            "KEY=VALUE",
        ),
    ];
    let before = json(&host, &["principal", "list"]);
    for served in [true, false] {
        for (arguments, code, part) in wrong {
            kms(&host, arguments).expect_code(*code).expect_stderr(part);
        }
        assert_eq!(json(&host, &["principal", "list"]), before);
        let failed = host.envol(&["--json", "kms", "principal", "delete", "nobody"]).expect_code(3);
        let failed: Value = serde_json::from_str(&failed.stdout).unwrap();
        assert_eq!(failed["exit_code"], 3, "{failed}");
        if served {
            kms(&host, &["fault", "outage", "--operation", "Fly"]).expect_code(2).expect_stderr("no operation Fly");
            kms(&host, &["fault", "throttle", "--percent", "101"]).expect_code(2).expect_stderr("101");
            kms(&host, &["fault", "latency", "soon"]).expect_code(2).expect_stderr("not a duration");
            assert_eq!(json(&host, &["fault", "list"])["faults"], json!([]));
            host.end_kms();
        }
    }
    for fault in [&["list"][..], &["clear"], &["latency", "1s"], &["propagation", "1s"], &["clock", "--advance", "1d"]]
    {
        kms(&host, &[&["fault"], fault].concat()).expect_code(3).expect_stderr("envol kms serve");
    }
    let elsewhere = tempfile::TempDir::new().unwrap();
    let mut command = host.command(harness::ENVOL);
    let list = command.arg("--root").arg(elsewhere.path()).args(["kms", "principal", "list"]);
    ran(&list.output().unwrap()).expect_code(3).expect_stderr("envol kms init");
}

#[test]
fn a_policy_also_comes_from_stdin() {
    let host = Host::new();
    kms(&host, &["principal", "create", "alice"]).expect_code(0);
    let policy = fs::File::open(identity_policy(&host, "x.json", &["kms:DescribeKey"])).unwrap();
    let mut command = host.command(harness::ENVOL);
    command.arg("--root").arg(host.root()).args(["kms", "principal", "attach-policy", "alice", "-"]);
    ran(&command.stdin(Stdio::null()).output().unwrap()).expect_code(2).expect_stderr("--name");
    command.args(["--name", "from-stdin"]).stdin(policy);
    ran(&command.output().unwrap()).expect_code(0);
    assert_eq!(policy_names(&host, "user/alice"), Some(json!(["from-stdin"])));
}

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

#[test]
fn json_is_one_object_whatever_is_asked() {
    let host = Host::new();
    let policy = identity_policy(&host, "p.json", &["kms:*"]);
    for arguments in [
        &["principal", "create", "alice"][..],
        &["principal", "list"],
        &["principal", "attach-policy", "alice", &policy],
        &["simulate", "--principal", "alice", "--action", "kms:Decrypt", "--key", "alias/test"],
        &["fault", "latency", "1ms"],
        &["fault", "list"],
        &["fault", "clear"],
        &["principal", "delete", "alice"],
    ] {
        let answer = host.envol(&[&["--json", "kms"], arguments].concat()).expect_code(0);
        assert!(answer.stdout.trim_end().lines().count() == 1 && answer.stderr.is_empty(), "{answer:?}");
        assert!(serde_json::from_str::<Value>(&answer.stdout).unwrap().is_object());
    }
}

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

#[test]
fn principals_outlast_the_server_and_faults_do_not() {
    let host = Host::new();
    let policy = identity_policy(&host, "random.json", &["kms:GenerateRandom"]);
    kms(&host, &["principal", "create", "alice"]).expect_code(0);
    kms(&host, &["principal", "attach-policy", "alice", &policy]).expect_code(0);
    let random = json!({ "NumberOfBytes": 8 });
    for killed in [false, true] {
        kms(&host, &["fault", "outage"]).expect_code(0);
        kms(&host, &["fault", "clock", "--advance", "40d"]).expect_code(0);
        assert_ne!(code(&host, "alice", "generate_random", &random), "");
        if killed {
            host.stop_kms();
            assert!(socket(&host).exists(), "a killed server leaves its socket");
        } else {
            host.end_kms();
        }
        // Nobody listens: the command looks into the state itself.
        assert_eq!(policy_names(&host, "user/alice"), Some(json!(["random"])));
        kms(&host, &["fault", "list"]).expect_code(3).expect_stderr("envol kms serve");
        host.start_kms();
        assert_eq!(code(&host, "alice", "generate_random", &random), "");
        let faults = json(&host, &["fault", "list"]);
        assert_eq!((&faults["faults"], &faults["clock_moved_by_ms"]), (&json!([]), &json!(0)), "{faults}");
        assert_eq!(fs::metadata(socket(&host)).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// Runs all at once; how each ended.
fn at_once(host: &Host, commands: &[Vec<String>]) -> Vec<Ran> {
    let start = |arguments: &Vec<String>| {
        let mut command = host.command(harness::ENVOL);
        command.arg("--root").arg(host.root()).arg("kms").args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = commands.iter().map(start).collect();
    children.into_iter().map(|child| ran(&child.wait_with_output().unwrap())).collect()
}

#[test]
fn commands_at_once_do_not_undo_each_other() {
    let host = Host::new();
    let create = |name: String| vec!["principal".to_owned(), "create".to_owned(), name];
    let names: Vec<String> = (0..12).map(|i| format!("user-{i}")).collect();
    for created in at_once(&host, &names.iter().cloned().map(create).collect::<Vec<_>>()) {
        created.expect_code(0);
    }
    let credentials = fs::read_to_string(host.root().join("kms/aws/credentials")).unwrap();
    let config = fs::read_to_string(host.root().join("kms/aws/config")).unwrap();
    for name in &names {
        assert!(credentials.contains(&format!("[{name}]")) && config.contains(&format!("[profile {name}]")), "{name}");
    }
    // One name is given once, and its first credentials are the ones that hold.
    let same = at_once(&host, &vec![create("alice".to_owned()); 6]);
    let codes: Vec<i32> = same.iter().map(|created| created.code).collect();
    assert_eq!(
        (codes.iter().filter(|code| **code == 0).count(), codes.iter().filter(|code| **code == 2).count()),
        (1, 5)
    );
    aws(&host, "alice", &["list-aliases"]).expect_stderr("(AccessDeniedException)");

    // Without a server one of them has the state, and the others say so.
    host.end_kms();
    let names: Vec<String> = (0..6).map(|i| format!("offline-{i}")).collect();
    let made = at_once(&host, &names.iter().cloned().map(create).collect::<Vec<_>>());
    assert!(made.iter().any(|made| made.code == 0));
    for (name, made) in names.iter().zip(made) {
        let there = policy_names(&host, &format!("user/{name}")).is_some();
        assert_eq!(there, made.code == 0, "{name}: {made:?}");
        if made.code != 0 {
            made.expect_code(8).expect_stderr("in use by another process");
        }
    }
}

#[test]
fn whoever_is_told_that_it_serves_can_ask_at_once() {
    let host = Host::new();
    for _ in 0..10 {
        host.stop_kms();
        host.start_kms();
        kms(&host, &["fault", "list"]).expect_code(0);
    }
}
