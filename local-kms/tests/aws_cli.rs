//! A session of the AWS CLI, as a person types it.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use local_kms::{InitOptions, init};
use serde_json::Value;
use support::{Server, aws_client};
use tempfile::TempDir;

/// The AWS CLI with the variables that `init` prints.
struct Cli<'a> {
    dir: &'a Path,
    server: &'a Server,
}

impl Cli<'_> {
    fn output(&self, arguments: &str) -> Output {
        let mut command = self.command();
        command.arg("kms").args(arguments.split(' '));
        command.output().unwrap()
    }

    fn command(&self) -> Command {
        aws_client("aws", self.dir, self.server)
    }

    fn ok(&self, arguments: &str) -> Value {
        let output = self.output(arguments);
        assert!(output.status.success(), "aws kms {arguments}: {}", String::from_utf8_lossy(&output.stderr));
        if output.stdout.is_empty() { Value::Null } else { serde_json::from_slice(&output.stdout).unwrap() }
    }

    /// What the CLI prints of the refusal that must come.
    fn refused(&self, arguments: &str) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "aws kms {arguments}: {}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stderr).unwrap().trim().to_owned()
    }

    fn expect_refusal(&self, arguments: &str, code: &str, message: &str) {
        let printed = self.refused(arguments);
        assert!(printed.contains(&format!("({code})")) && printed.ends_with(message), "aws kms {arguments}: {printed}");
    }
}

fn strings(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_session_of_the_aws_cli() {
    let installed = Command::new("aws").arg("--version").output().is_ok_and(|output| output.status.success());
    assert!(installed, "the AWS CLI does not run; install it: pip install awscli");
    let directory = TempDir::new().unwrap();
    let dir = directory.path();
    init(dir, &InitOptions::default()).unwrap();
    let server = Server::start(dir);
    let cli = Cli { dir, server: &server };

    let created = cli.ok("create-key --description volumes --tags TagKey=team,TagValue=db")["KeyMetadata"].clone();
    let (id, arn) = (created["KeyId"].as_str().unwrap(), created["Arn"].as_str().unwrap());
    let other = cli.ok("create-key")["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    cli.ok(&format!("create-alias --alias-name alias/db --target-key-id {id}"));
    for name in [id, arn, "alias/db", &arn.replace(&format!("key/{id}"), "alias/db")] {
        assert_eq!(cli.ok(&format!("describe-key --key-id {name}"))["KeyMetadata"]["Arn"], arn, "{name}");
    }
    let mut keys = [id.to_owned(), other.clone()];
    keys.sort();
    assert_eq!(strings(&cli.ok("list-keys --page-size 1")["Keys"], "KeyId"), keys);
    assert_eq!(strings(&cli.ok("list-aliases")["Aliases"], "AliasName"), ["alias/db"]);

    let context = "--encryption-context aws:rds:db-id=db-X,aws:ebs:id=vol-1";
    let data_key = cli.ok(&format!("generate-data-key --key-id alias/db --number-of-bytes 64 {context}"));
    let plaintext = data_key["Plaintext"].as_str().unwrap();
    assert_eq!((STANDARD.decode(plaintext).unwrap().len(), &data_key["KeyId"]), (64, &Value::from(arn)));
    let blob = dir.join("blob");
    fs::write(&blob, STANDARD.decode(data_key["CiphertextBlob"].as_str().unwrap()).unwrap()).unwrap();
    let blob = format!("--ciphertext-blob fileb://{}", blob.display());
    let decrypt = format!("decrypt {blob} {context}");
    assert_eq!(cli.ok(&decrypt)["Plaintext"], plaintext);
    assert_eq!(cli.ok(&format!("{decrypt} --key-id {id}"))["Plaintext"], plaintext);
    let wrong = format!("decrypt {blob} --encryption-context aws:rds:db-id=db-X,aws:ebs:id=vol-2");
    cli.expect_refusal(&wrong, "InvalidCiphertextException", ":");
    cli.expect_refusal(&format!("decrypt {blob}"), "InvalidCiphertextException", ":");
    let incorrect = "The key ID in the request does not identify a CMK that can perform this operation.";
    cli.expect_refusal(&format!("{decrypt} --key-id {other}"), "IncorrectKeyException", incorrect);
    let would = "The request would have succeeded, but the DryRun option is set.";
    cli.expect_refusal(&format!("{decrypt} --dry-run"), "DryRunOperationException", would);

    let disabled = format!("{arn} is disabled.");
    cli.ok(&format!("disable-key --key-id {id}"));
    cli.expect_refusal(&decrypt, "DisabledException", &disabled);
    cli.expect_refusal("generate-data-key --key-id alias/db --number-of-bytes 64", "DisabledException", &disabled);
    cli.ok(&format!("enable-key --key-id {id}"));
    cli.ok(&decrypt);

    let schedule = format!("schedule-key-deletion --key-id {id} --pending-window-in-days");
    cli.expect_refusal(&format!("{schedule} 6"), "ValidationException", "greater than or equal to 7");
    cli.expect_refusal(&format!("{schedule} 31"), "ValidationException", "less than or equal to 30");
    assert_eq!(cli.ok(&format!("{schedule} 7"))["KeyState"], "PendingDeletion");
    cli.expect_refusal(&decrypt, "KMSInvalidStateException", &format!("{arn} is pending deletion."));
    cli.ok(&format!("cancel-key-deletion --key-id {id}"));
    cli.expect_refusal(&decrypt, "DisabledException", &disabled);
    cli.ok(&format!("enable-key --key-id {arn}"));

    let moved = cli.ok(&format!(
        "re-encrypt {blob} --source-encryption-context aws:rds:db-id=db-X,aws:ebs:id=vol-1 --destination-key-id {other} \
         --destination-encryption-context aws:ebs:id=vol-2"
    ));
    let moved_blob = dir.join("moved");
    fs::write(&moved_blob, STANDARD.decode(moved["CiphertextBlob"].as_str().unwrap()).unwrap()).unwrap();
    let moved =
        format!("decrypt --ciphertext-blob fileb://{} --encryption-context aws:ebs:id=vol-2", moved_blob.display());
    assert_eq!(cli.ok(&moved)["Plaintext"], plaintext);
    let random = cli.ok("generate-random --number-of-bytes 32");
    assert_eq!(STANDARD.decode(random["Plaintext"].as_str().unwrap()).unwrap().len(), 32);

    cli.ok(&format!("update-alias --alias-name alias/db --target-key-id {other}"));
    assert_eq!(cli.ok("describe-key --key-id alias/db")["KeyMetadata"]["KeyId"], other);
    server.stop().unwrap();

    let server = Server::start(dir);
    let cli = Cli { dir, server: &server };
    assert_eq!(cli.ok(&decrypt)["Plaintext"], plaintext);
    assert_eq!(cli.ok("describe-key --key-id alias/db")["KeyMetadata"]["KeyId"], other);
    cli.ok("delete-alias --alias-name alias/db");
    assert!(cli.refused("describe-key --key-id alias/db").contains("(NotFoundException)"));
    assert!(cli.refused("list-grants --key-id alias/db").contains("(UnknownOperationException)"));
    cli.ok("list-keys --profile envol-volume");

    let credentials = dir.join("aws/credentials");
    let right = fs::read_to_string(&credentials).unwrap();
    fs::write(&credentials, right.replace("aws_secret_access_key = ", "aws_secret_access_key = x")).unwrap();
    assert!(cli.refused("list-keys").contains("(InvalidSignatureException)"));
    fs::write(&credentials, right).unwrap();
    cli.ok("list-keys");
    cli.expect_refusal(
        "list-keys --region eu-west-1",
        "InvalidSignatureException",
        "Credential should be scoped to a valid region, not 'eu-west-1'.",
    );
}
