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
    cli.refused("sign --key-id alias/db --message x --signing-algorithm ECDSA_SHA_256");
    assert!(cli.refused("list-keys --profile envol-volume").contains("(AccessDeniedException)"));

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

fn text<'v>(answer: &'v Value, member: &str) -> &'v str {
    answer[member].as_str().unwrap_or_else(|| panic!("no {member} in {answer}"))
}

/// As AWS's developer guide does it with OpenSSL: RSA-OAEP with SHA-256.
fn wrap(public_key: &Path, material: &Path, wrapped: &Path) {
    let script = "import sys\n\
        from cryptography.hazmat.primitives import hashes, serialization\n\
        from cryptography.hazmat.primitives.asymmetric import padding\n\
        read = lambda path: open(path, 'rb').read()\n\
        digest = hashes.SHA256()\n\
        oaep = padding.OAEP(mgf=padding.MGF1(digest), algorithm=digest, label=None)\n\
        key = serialization.load_der_public_key(read(sys.argv[1]))\n\
        open(sys.argv[3], 'wb').write(key.encrypt(read(sys.argv[2]), oaep))";
    let status = Command::new("python3").args(["-c", script]).args([public_key, material, wrapped]).status();
    assert!(status.unwrap().success());
}

#[test]
fn policies_grants_tags_rotation_and_import_as_a_person_types_them() {
    let directory = TempDir::new().unwrap();
    let dir = directory.path();
    init(dir, &InitOptions::default()).unwrap();
    let server = Server::start(dir);
    let cli = Cli { dir, server: &server };
    let created = cli.ok("create-key")["KeyMetadata"].clone();
    let (id, arn) = (text(&created, "KeyId"), text(&created, "Arn"));
    cli.ok(&format!("update-key-description --key-id {id} --description orders"));
    assert_eq!(text(&cli.ok(&format!("describe-key --key-id {id}"))["KeyMetadata"], "Description"), "orders");

    // A key policy, taken out as text and put back as a file.
    let get = format!("get-key-policy --key-id {id} --policy-name default --query Policy --output text");
    let policy = || serde_json::from_slice::<Value>(&cli.output(&get).stdout).unwrap();
    assert_eq!(policy()["Statement"][0]["Principal"]["AWS"], "arn:aws:iam::111122223333:root");
    let file = dir.join("policy.json");
    fs::write(&file, cli.output(&get).stdout).unwrap();
    let put = format!("put-key-policy --key-id {id} --policy-name default --policy file://{}", file.display());
    let before = policy();
    cli.ok(&put);
    assert_eq!(policy(), before);
    let mut with_deny = before.clone();
    with_deny["Statement"].as_array_mut().unwrap().push(serde_json::json!({
        "Sid": "No random days", "Effect": "Deny", "Principal": "*", "Action": "kms:TagResource", "Resource": "*"
    }));
    fs::write(&file, with_deny.to_string()).unwrap();
    cli.ok(&put);
    assert_eq!(policy(), with_deny);
    let tag = format!("tag-resource --key-id {id} --tags TagKey=team,TagValue=db TagKey=tier,TagValue=one");
    cli.expect_refusal(&tag, "AccessDeniedException", "with an explicit deny in a resource-based policy");
    fs::write(&file, before.to_string()).unwrap();
    cli.ok(&put);
    cli.ok(&tag);
    fs::write(&file, "no policy").unwrap();
    assert!(cli.refused(&put).contains("(MalformedPolicyDocumentException)"));
    assert_eq!(cli.ok(&format!("list-key-policies --key-id {id}"))["PolicyNames"], serde_json::json!(["default"]));

    cli.ok(&format!("untag-resource --key-id {id} --tag-keys tier"));
    assert_eq!(strings(&cli.ok(&format!("list-resource-tags --key-id {id}"))["Tags"], "TagKey"), ["team"]);

    // A grant, by shorthand; the grantee uses it with a ciphertext in a file.
    let secret = dir.join("secret");
    fs::write(&secret, "secret").unwrap();
    let context = "aws:rds:db-id=db-X,aws:ebs:id=vol-1";
    let sealed = cli
        .ok(&format!("encrypt --key-id {id} --plaintext fileb://{} --encryption-context {context}", secret.display()));
    let blob = dir.join("blob");
    fs::write(&blob, STANDARD.decode(text(&sealed, "CiphertextBlob")).unwrap()).unwrap();
    let open = format!("decrypt --ciphertext-blob fileb://{} --profile envol-volume", blob.display());
    let open_context = format!("{open} --encryption-context {context}");
    assert!(cli.refused(&open_context).contains("(AccessDeniedException)"));
    let grantee = "arn:aws:iam::111122223333:user/envol-volume";
    let create = format!("create-grant --key-id {id} --grantee-principal {grantee} --operations Decrypt RetireGrant");
    let granted = cli.ok(&format!("{create} --constraints EncryptionContextSubset={{aws:ebs:id=vol-1}} --name vol-1"));
    assert_eq!(STANDARD.decode(text(&cli.ok(&open_context), "Plaintext")).unwrap(), b"secret");
    let with_token = format!("{open_context} --grant-tokens {}", text(&granted, "GrantToken"));
    assert_eq!(text(&cli.ok(&with_token), "KeyId"), arn);
    assert!(cli.refused(&open).contains("(AccessDeniedException)"));
    let listed = cli.ok(&format!("list-grants --key-id {id} --grantee-principal {grantee}"))["Grants"].clone();
    assert_eq!(listed[0]["Constraints"], serde_json::json!({ "EncryptionContextSubset": { "aws:ebs:id": "vol-1" } }));
    assert_eq!(
        (strings(&listed, "Name"), text(&listed[0], "GrantId")),
        (vec!["vol-1".into()], text(&granted, "GrantId"))
    );
    cli.ok(&format!("retire-grant --key-id {arn} --grant-id {} --profile envol-volume", text(&granted, "GrantId")));
    assert!(cli.refused(&open_context).contains("(AccessDeniedException)"));
    let second = cli.ok(&format!("{create} --retiring-principal arn:aws:iam::111122223333:user/envol-admin"));
    let retirable = cli.ok("list-retirable-grants --retiring-principal arn:aws:iam::111122223333:user/envol-admin");
    assert_eq!(strings(&retirable["Grants"], "GrantId"), [text(&second, "GrantId")]);
    cli.ok(&format!("revoke-grant --key-id {id} --grant-id {}", text(&second, "GrantId")));
    assert_eq!(cli.ok(&format!("list-grants --key-id {id}"))["Grants"], serde_json::json!([]));

    let usage = cli.ok(&format!("get-key-last-usage --key-id {id}"));
    assert_eq!(text(&usage["KeyLastUsage"], "Operation"), "Decrypt");
    let wrapped = cli.ok(&format!("generate-data-key-without-plaintext --key-id {id} --key-spec AES_256"));
    assert!(!STANDARD.decode(text(&wrapped, "CiphertextBlob")).unwrap().is_empty());

    cli.ok(&format!("enable-key-rotation --key-id {id} --rotation-period-in-days 180"));
    let status = cli.ok(&format!("get-key-rotation-status --key-id {id}"));
    assert_eq!((&status["KeyRotationEnabled"], &status["RotationPeriodInDays"]), (&true.into(), &180.into()));
    cli.ok(&format!("disable-key-rotation --key-id {id}"));
    cli.ok(&format!("rotate-key-on-demand --key-id {id}"));
    let rotations = cli.ok(&format!("list-key-rotations --key-id {id}"))["Rotations"].clone();
    assert_eq!(strings(&rotations, "RotationType"), ["ON_DEMAND"]);

    // Key material of one's own, by files.
    let external = cli.ok("create-key --origin EXTERNAL")["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let parameters = cli.ok(&format!(
        "get-parameters-for-import --key-id {external} --wrapping-algorithm RSAES_OAEP_SHA_256 \
         --wrapping-key-spec RSA_2048"
    ));
    let [public_key, token, material, wrapped] = ["public-key", "token", "material", "wrapped"].map(|f| dir.join(f));
    fs::write(&public_key, STANDARD.decode(text(&parameters, "PublicKey")).unwrap()).unwrap();
    fs::write(&token, STANDARD.decode(text(&parameters, "ImportToken")).unwrap()).unwrap();
    fs::write(&material, [7; 32]).unwrap();
    wrap(&public_key, &material, &wrapped);
    let import = |wrapped: &Path| {
        format!(
            "import-key-material --key-id {external} --import-token fileb://{} --encrypted-key-material fileb://{} \
             --expiration-model KEY_MATERIAL_DOES_NOT_EXPIRE",
            token.display(),
            wrapped.display()
        )
    };
    assert!(cli.refused(&import(&material)).contains("(InvalidCiphertextException)"));
    cli.ok(&import(&wrapped));
    cli.ok(&format!("generate-data-key --key-id {external} --key-spec AES_256"));
    cli.ok(&format!("delete-imported-key-material --key-id {external}"));
    let refused = cli.refused(&format!("generate-data-key --key-id {external} --key-spec AES_256"));
    assert!(refused.contains("(KMSInvalidStateException)") && refused.ends_with("is pending import."), "{refused}");
}
