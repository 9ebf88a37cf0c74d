//! A server's directory: made once, completed but never changed by `init`, used by one server at a time.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use local_kms::{InitError, InitOptions, OpenError, ServeError, init};
use serde_json::json;
use support::Server;
use support::http::Client;
use tempfile::TempDir;

fn made() -> TempDir {
    let dir = TempDir::new().unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    dir
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn serve_error(dir: &Path) -> ServeError {
    Server::try_start(dir, support::options()).map(drop).unwrap_err()
}

#[test]
fn only_the_owner_can_read_it() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("a/kms");
    init(&dir, &InitOptions::default()).unwrap();
    drop(Server::start(&dir));
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("aws")), 0o700);
    let files = ["root.key", "state.redb", "server.json", "audit.jsonl", "admin.sock", "aws/config", "aws/credentials"];
    for file in files {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
}

#[test]
fn the_export_lines_are_absolute_quoted_and_name_the_administrator() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("it's a kms");
    let made = init(&dir, &InitOptions { listen: Some("127.0.0.1:4600".parse().unwrap()), region: None }).unwrap();
    let script = made.export_lines().join("\n") + "\nenv";
    let output = std::process::Command::new("sh").arg("-c").arg(script).env_clear().output().unwrap();
    let env = String::from_utf8(output.stdout).unwrap();
    let dir = dir.canonicalize().unwrap();
    for line in [
        format!("AWS_CONFIG_FILE={}/aws/config", dir.display()),
        format!("AWS_SHARED_CREDENTIALS_FILE={}/aws/credentials", dir.display()),
        "AWS_PROFILE=envol-admin".to_owned(),
        "AWS_ENDPOINT_URL_KMS=http://127.0.0.1:4600".to_owned(),
        "AWS_ENDPOINT_URL_STS=http://127.0.0.1:4600".to_owned(),
    ] {
        assert!(env.lines().any(|found| found == line), "{line} in\n{env}");
    }
    assert_eq!(made.export_lines().len(), 5);
}

#[test]
fn a_second_init_changes_no_secret_and_no_key() {
    let dir = made();
    let read = |file: &str| fs::read(dir.path().join(file)).unwrap();
    let files = ["root.key", "state.redb", "server.json", "aws/config", "aws/credentials"];
    let before = files.map(read);
    init(dir.path(), &InitOptions::default()).unwrap();
    assert_eq!(files.map(read), before);

    let credentials = read("aws/credentials");
    fs::remove_file(dir.path().join("aws/credentials")).unwrap();
    fs::remove_file(dir.path().join("server.json")).unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    assert_eq!(read("aws/credentials"), credentials);
    assert_eq!(read("root.key"), before[0]);
}

#[test]
fn a_second_init_remembers_and_can_change_the_address_but_not_the_region() {
    let dir = TempDir::new().unwrap();
    let options = |listen: Option<&str>, region: Option<&str>| InitOptions {
        listen: listen.map(|listen| listen.parse().unwrap()),
        region: region.map(str::to_owned),
    };
    init(dir.path(), &options(Some("127.0.0.1:4600"), Some("eu-west-1"))).unwrap();
    assert_eq!(init(dir.path(), &options(None, None)).unwrap().listen().port(), 4600);
    assert_eq!(init(dir.path(), &options(Some("127.0.0.1:4601"), Some("eu-west-1"))).unwrap().listen().port(), 4601);
    let error = init(dir.path(), &options(None, Some("us-east-1"))).unwrap_err();
    assert!(matches!(error, InitError::RegionDiffers { .. }), "{error}");
    assert_eq!(init(dir.path(), &options(None, None)).unwrap().listen().port(), 4601);
    assert!(fs::read_to_string(dir.path().join("aws/config")).unwrap().contains("region = eu-west-1"));
    let error = init(dir.path(), &options(None, Some("x]\n[y"))).unwrap_err();
    assert!(matches!(error, InitError::InvalidRegion { .. }), "{error}");
}

#[test]
fn init_answers_while_a_server_runs() {
    let dir = made();
    let _server = Server::start(dir.path());
    assert_eq!(init(dir.path(), &InitOptions::default()).unwrap().export_lines().len(), 5);
    fs::remove_file(dir.path().join("aws/config")).unwrap();
    let error = init(dir.path(), &InitOptions::default()).unwrap_err();
    assert!(matches!(error, InitError::Open(OpenError::InUse { .. })), "{error}");
}

#[test]
fn an_init_that_was_killed_can_be_run_again() {
    let dir = made();
    fs::rename(dir.path().join("state.redb"), dir.path().join("state.redb.new")).unwrap();
    fs::remove_dir_all(dir.path().join("aws")).unwrap();
    fs::remove_file(dir.path().join("server.json")).unwrap();
    let key = fs::read(dir.path().join("root.key")).unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    assert_eq!(fs::read(dir.path().join("root.key")).unwrap(), key);
    let server = Server::start(dir.path());
    Client::admin(dir.path(), server.address).ok("CreateKey", &json!({}));
}

#[test]
fn a_new_state_gets_new_profiles() {
    let dir = made();
    fs::remove_file(dir.path().join("state.redb")).unwrap();
    fs::remove_file(dir.path().join("root.key")).unwrap();
    init(dir.path(), &InitOptions::default()).unwrap();
    let server = Server::start(dir.path());
    Client::admin(dir.path(), server.address).ok("ListKeys", &json!({}));
}

#[test]
fn a_directory_that_is_not_a_kms_is_not_served() {
    let dir = TempDir::new().unwrap();
    for dir in [dir.path().to_owned(), dir.path().join("missing")] {
        let error = serve_error(&dir);
        assert!(matches!(error, ServeError::Open(OpenError::NotInitialised { .. })), "{error}");
        assert!(error.to_string().contains("envol kms init"), "{error}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn two_servers_do_not_share_a_directory() {
    let dir = made();
    let first = Server::start(dir.path());
    let error = serve_error(dir.path());
    assert!(matches!(error, ServeError::Open(OpenError::InUse { .. })), "{error}");
    first.stop().unwrap();
    drop(Server::start(dir.path()));
}

#[test]
fn a_root_key_that_is_missing_or_wrong_is_reported_and_not_replaced() {
    let dir = made();
    let path = dir.path().join("root.key");
    let key = fs::read(&path).unwrap();
    drop(Server::start(dir.path()));

    fs::remove_file(&path).unwrap();
    let error = serve_error(dir.path());
    assert!(matches!(error, ServeError::Open(OpenError::RootKeyMissing { .. })), "{error}");
    let error = init(dir.path(), &InitOptions::default()).unwrap_err();
    assert!(matches!(error, InitError::Open(OpenError::RootKeyMissing { .. })), "{error}");
    assert!(!path.exists());

    let mut flipped = key.clone();
    flipped[0] ^= 1;
    fs::write(&path, &flipped).unwrap();
    let error = serve_error(dir.path());
    assert!(matches!(error, ServeError::Open(OpenError::WrongRootKey { .. })), "{error}");
    fs::write(&path, &key[..31]).unwrap();
    let error = serve_error(dir.path());
    assert!(matches!(error, ServeError::Open(OpenError::RootKeyLength { len: 31, .. })), "{error}");
    assert_eq!(fs::read(&path).unwrap(), key[..31]);

    fs::write(&path, &key).unwrap();
    drop(Server::start(dir.path()));
}

#[test]
fn an_address_that_others_can_reach_needs_a_word() {
    let dir = made();
    let mut options = support::options();
    options.listen = Some("0.0.0.0:0".parse().unwrap());
    let error = Server::try_start(dir.path(), options.clone()).map(drop).unwrap_err();
    assert!(matches!(error, ServeError::RemoteListen { .. }), "{error}");
    assert!(error.to_string().contains("--allow-remote"), "{error}");
    options.allow_remote = true;
    drop(Server::try_start(dir.path(), options).unwrap());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let dir = made();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = support::options();
    options.listen = Some(taken.local_addr().unwrap());
    let error = Server::try_start(dir.path(), options).map(drop).unwrap_err();
    assert!(matches!(error, ServeError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&taken.local_addr().unwrap().to_string()), "{error}");
}

#[test]
fn a_restart_keeps_keys_states_and_aliases() {
    let dir = made();
    let server = Server::start(dir.path());
    let client = Client::admin(dir.path(), server.address);
    let key = client.ok("CreateKey", &json!({}))["KeyMetadata"]["KeyId"].clone();
    client.ok("CreateAlias", &json!({ "AliasName": "alias/db", "TargetKeyId": key }));
    let sealed = client.ok("Encrypt", &json!({ "KeyId": key, "Plaintext": "c2VjcmV0" }));
    client.ok("DisableKey", &json!({ "KeyId": key }));
    server.stop().unwrap();

    let server = Server::start(dir.path());
    let client = Client::admin(dir.path(), server.address);
    let described = client.ok("DescribeKey", &json!({ "KeyId": "alias/db" }));
    assert_eq!(described["KeyMetadata"]["KeyState"], "Disabled");
    client.ok("EnableKey", &json!({ "KeyId": key }));
    let opened = client.ok("Decrypt", &json!({ "CiphertextBlob": sealed["CiphertextBlob"] }));
    assert_eq!(opened["Plaintext"], "c2VjcmV0");
}
