//! Principals: made, listed, deleted, given policies; through the socket of a server, and without one.

use super::*;

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
