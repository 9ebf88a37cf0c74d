//! Encrypt, Decrypt, ReEncrypt, data keys and random bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Fixture, text};

fn bytes(blob: &Value) -> Vec<u8> {
    STANDARD.decode(blob.as_str().unwrap()).unwrap()
}

#[test]
fn a_blob_opens_with_its_context_only() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let blob = fixture.encrypt(&key, &json!({ "aws:rds:db-id": "db-1", "aws:ebs:id": "vol-1" }));
    let with = |context: Value| json!({ "CiphertextBlob": blob, "EncryptionContext": context });
    let opened = fixture.ok("Decrypt", &with(json!({ "aws:ebs:id": "vol-1", "aws:rds:db-id": "db-1" })));
    assert_eq!(bytes(&opened["Plaintext"]), b"secret");
    assert_eq!(opened["KeyId"], Fixture::arn(&key));
    assert_eq!(opened["EncryptionAlgorithm"], "SYMMETRIC_DEFAULT");
    for wrong in [
        json!({}),
        json!({ "aws:ebs:id": "vol-1" }),
        json!({ "aws:ebs:id": "vol-2", "aws:rds:db-id": "db-1" }),
        json!({ "AWS:ebs:id": "vol-1", "aws:rds:db-id": "db-1" }),
        json!({ "aws:ebs:i": "dvol-1", "aws:rds:db-id": "db-1" }),
    ] {
        let refusal = fixture.call("Decrypt", &with(wrong.clone())).unwrap_err();
        assert_eq!(refusal, ("InvalidCiphertextException", String::new()), "{wrong}");
    }
}

#[test]
fn no_context_and_an_empty_one_are_the_same() {
    let fixture = Fixture::new();
    let blob = fixture.encrypt(&fixture.create_key(), &Value::Null);
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob, "EncryptionContext": {} }));
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
}

#[test]
fn what_is_not_a_blob_is_an_invalid_ciphertext() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let blob = bytes(&fixture.encrypt(&key, &json!({})));
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": STANDARD.encode(&blob) }));
    let mut corrupt = blob.clone();
    corrupt[5] ^= 1;
    for wrong in [&[][..], &blob[..blob.len() - 1], &corrupt, b"not a blob", &[0; 6144]] {
        let wrong = json!({ "CiphertextBlob": STANDARD.encode(wrong) });
        let refusal = fixture.call("Decrypt", &wrong).unwrap_err();
        assert_eq!(refusal, ("InvalidCiphertextException", String::new()));
    }
    let too_long = json!({ "CiphertextBlob": STANDARD.encode([0; 6145]) });
    assert_eq!(fixture.code("Decrypt", &too_long), "ValidationException");
    assert_eq!(fixture.code("Decrypt", &json!({})), "ValidationException");
}

#[test]
fn the_key_in_the_request_must_be_the_blobs() {
    let fixture = Fixture::new();
    let (key, other) = (fixture.create_key(), fixture.create_key());
    let blob = fixture.encrypt(&key, &json!({}));
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/key", "TargetKeyId": key }));
    fixture.ok("CreateAlias", &json!({ "AliasName": "alias/other", "TargetKeyId": other }));
    for right in [key.clone(), Fixture::arn(&key), "alias/key".into()] {
        fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob, "KeyId": right }));
    }
    for wrong in [other, "alias/other".into()] {
        let refusal = fixture.call("Decrypt", &json!({ "CiphertextBlob": blob, "KeyId": wrong })).unwrap_err();
        let message = "The key ID in the request does not identify a CMK that can perform this operation.";
        assert_eq!(refusal, ("IncorrectKeyException", message.into()));
    }
    let missing = json!({ "CiphertextBlob": blob, "KeyId": "alias/none" });
    let message = "Alias arn:aws:kms:us-east-1:111122223333:alias/none is not found.";
    assert_eq!(fixture.call("Decrypt", &missing).unwrap_err(), ("NotFoundException", message.into()));
}

#[test]
fn a_blob_of_another_server_is_not_accessible() {
    let (here, elsewhere) = (Fixture::new(), Fixture::new());
    let blob = elsewhere.encrypt(&elsewhere.create_key(), &json!({}));
    elsewhere.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    assert_eq!(here.code("Decrypt", &json!({ "CiphertextBlob": blob })), "AccessDeniedException");
}

#[test]
fn data_keys_have_the_length_asked_for_and_open_again() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let context = json!({ "aws:ebs:id": "vol-1" });
    for (size, len_bytes) in [
        (json!({ "NumberOfBytes": 64 }), 64),
        (json!({ "NumberOfBytes": 1 }), 1),
        (json!({ "NumberOfBytes": 1024 }), 1024),
        (json!({ "KeySpec": "AES_256" }), 32),
        (json!({ "KeySpec": "AES_128" }), 16),
    ] {
        let mut request = size;
        request["KeyId"] = json!(key);
        request["EncryptionContext"] = context.clone();
        let data_key = fixture.ok("GenerateDataKey", &request);
        let opened = fixture
            .ok("Decrypt", &json!({ "CiphertextBlob": data_key["CiphertextBlob"], "EncryptionContext": context }));
        assert_eq!(opened["Plaintext"], data_key["Plaintext"]);
        assert_eq!(opened["KeyMaterialId"], data_key["KeyMaterialId"]);
        assert_eq!(bytes(&opened["Plaintext"]).len(), len_bytes);

        let sealed = fixture.ok("GenerateDataKeyWithoutPlaintext", &request);
        assert!(sealed.get("Plaintext").is_none());
        let opened =
            fixture.ok("Decrypt", &json!({ "CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": context }));
        assert_eq!(bytes(&opened["Plaintext"]).len(), len_bytes);
    }
}

#[test]
fn sizes_out_of_bounds_are_refused_in_awss_words() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let which = "Please specify either number of bytes or key spec.";
    let bound = "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must \
                 have value less than or equal to 1024";
    for (operation, request, message) in [
        ("GenerateDataKey", json!({ "KeyId": key }), which),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 32, "KeySpec": "AES_256" }), which),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 1025 }), bound),
        ("GenerateRandom", json!({ "NumberOfBytes": 1025 }), bound),
        ("GenerateRandom", json!({}), "NumberOfBytes is required."),
        (
            "Encrypt",
            json!({ "KeyId": key, "Plaintext": STANDARD.encode([0; 4097]) }),
            "1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must have length \
             less than or equal to 4096",
        ),
    ] {
        let refusal = fixture.call(operation, &request).unwrap_err();
        assert_eq!(refusal, ("ValidationException", message.into()), "{operation}");
    }
    assert_eq!(bytes(&fixture.ok("GenerateRandom", &json!({ "NumberOfBytes": 1024 }))["Plaintext"]).len(), 1024);
    let largest = json!({ "KeyId": key, "Plaintext": STANDARD.encode([0; 4096]) });
    assert!(bytes(&fixture.ok("Encrypt", &largest)["CiphertextBlob"]).len() <= 6144);
}

#[test]
fn re_encrypt_moves_a_blob_to_another_key_and_context() {
    let fixture = Fixture::new();
    let (from, to) = (fixture.create_key(), fixture.create_key());
    let blob = fixture.encrypt(&from, &json!({ "a": "1" }));
    let mut request = json!({
        "CiphertextBlob": blob, "SourceEncryptionContext": { "a": "1" },
        "DestinationKeyId": to, "DestinationEncryptionContext": { "b": "2" },
    });
    let moved = fixture.ok("ReEncrypt", &request);
    assert_eq!((&moved["SourceKeyId"], &moved["KeyId"]), (&json!(Fixture::arn(&from)), &json!(Fixture::arn(&to))));
    assert_ne!(moved["SourceKeyMaterialId"], moved["DestinationKeyMaterialId"]);
    let opened = fixture.ok(
        "Decrypt",
        &json!({ "CiphertextBlob": moved["CiphertextBlob"], "KeyId": to, "EncryptionContext": { "b": "2" } }),
    );
    assert_eq!(bytes(&opened["Plaintext"]), b"secret");

    request["SourceKeyId"] = json!(to);
    assert_eq!(fixture.code("ReEncrypt", &request), "IncorrectKeyException");
    request["SourceKeyId"] = json!(from);
    request["SourceEncryptionContext"] = json!({ "a": "2" });
    assert_eq!(fixture.code("ReEncrypt", &request), "InvalidCiphertextException");
}

#[test]
fn a_dry_run_checks_everything_and_does_nothing() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let blob = fixture.encrypt(&key, &json!({ "a": "1" }));
    let would = "DryRunOperationException";
    let dry = |operation: &str, mut request: Value| {
        request["DryRun"] = json!(true);
        fixture.code(operation, &request)
    };
    let right = json!({ "CiphertextBlob": blob, "EncryptionContext": { "a": "1" } });
    assert_eq!(dry("Decrypt", right), would);
    assert_eq!(dry("Decrypt", json!({ "CiphertextBlob": blob })), "InvalidCiphertextException");
    assert_eq!(dry("Encrypt", json!({ "KeyId": key, "Plaintext": "YQ==" })), would);
    assert_eq!(dry("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 64 })), would);
    assert_eq!(dry("GenerateDataKeyWithoutPlaintext", json!({ "KeyId": key, "NumberOfBytes": 64 })), would);
    let moved = json!({ "CiphertextBlob": blob, "SourceEncryptionContext": { "a": "1" }, "DestinationKeyId": key });
    assert_eq!(dry("ReEncrypt", moved), would);

    let ignore = json!(["IGNORE_CIPHERTEXT"]);
    assert_eq!(dry("Decrypt", json!({ "KeyId": key, "DryRunModifiers": ignore })), would);
    assert_eq!(dry("Decrypt", json!({ "DryRunModifiers": ignore })), "ValidationException");
    assert_eq!(dry("Decrypt", json!({ "KeyId": key, "DryRunModifiers": ["GUESS"] })), "ValidationException");
    let without_dry_run = json!({ "KeyId": key, "DryRunModifiers": ignore });
    assert_eq!(fixture.code("Decrypt", &without_dry_run), "ValidationException");
}

#[test]
fn what_a_caller_asks_for_in_vain_is_not_ignored() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let blob = fixture.encrypt(&key, &json!({}));
    let decrypt = |member: &str, value: Value| {
        let mut request = json!({ "CiphertextBlob": blob });
        request[member] = value;
        request
    };
    fixture.ok("Decrypt", &decrypt("GrantTokens", json!([])));
    assert_eq!(fixture.code("Decrypt", &decrypt("GrantTokens", json!(["token"]))), "InvalidGrantTokenException");
    assert_eq!(fixture.code("Decrypt", &decrypt("Recipient", json!({}))), "UnsupportedOperationException");
    fixture.ok("Decrypt", &decrypt("EncryptionAlgorithm", json!("SYMMETRIC_DEFAULT")));
    let rsa = decrypt("EncryptionAlgorithm", json!("RSAES_OAEP_SHA_256"));
    assert_eq!(fixture.code("Decrypt", &rsa), "InvalidKeyUsageException");
    assert_eq!(fixture.code("Decrypt", &decrypt("EncryptionAlgorithm", json!("ROT13"))), "ValidationException");
}

#[test]
fn blobs_and_keys_survive_a_restart() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let blob = fixture.encrypt(&key, &json!({}));
    let fixture = fixture.reopened();
    assert_eq!(text(&fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }))["KeyId"]), Fixture::arn(&key));
}
