//! Key material made elsewhere: wrapped, imported, expired, deleted, imported again.

use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{DAY_MS, DAY_S, Fixture, Refusal, START_S, text};

pub(super) const MATERIAL: [u8; 32] = [7; 32];

/// What a client does with the parameters it got: the same wrapping, from the other side.
fn wrapped(algorithm: &str, public_key: &Value, material: &[u8]) -> Value {
    let public_key = PublicEncryptingKey::from_der(&STANDARD.decode(text(public_key)).unwrap()).unwrap();
    let public_key = OaepPublicEncryptingKey::new(public_key).unwrap();
    let oaep = if algorithm.ends_with("_SHA_1") { &OAEP_SHA1_MGF1SHA1 } else { &OAEP_SHA256_MGF1SHA256 };
    let mut by_rsa = vec![0; public_key.ciphertext_size()];
    if algorithm.starts_with("RSAES") {
        public_key.encrypt(oaep, material, &mut by_rsa, None).unwrap();
        return json!(STANDARD.encode(by_rsa));
    }
    let aes_key = [9; 32];
    public_key.encrypt(oaep, &aes_key, &mut by_rsa, None).unwrap();
    let mut by_aes = vec![0; material.len() + 16];
    let by_aes = AesKek::new(&AES_256, &aes_key).unwrap().wrap_with_padding(material, &mut by_aes).unwrap();
    json!(STANDARD.encode([&by_rsa, &*by_aes].concat()))
}

pub(super) fn merged(mut request: Value, more: &Value) -> Value {
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

impl Fixture {
    pub(super) fn create_external_key(&self) -> String {
        text(&self.ok("CreateKey", &json!({ "Origin": "EXTERNAL" }))["KeyMetadata"]["KeyId"])
    }

    fn parameters(&self, key: &str, algorithm: &str, spec: &str) -> Value {
        let request = json!({ "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": spec });
        self.ok("GetParametersForImport", &request)
    }

    /// A whole request to import `material`, which does not expire unless `more` says so.
    pub(super) fn import_request(&self, key: &str, material: &[u8], more: &Value) -> Value {
        let parameters = self.parameters(key, "RSAES_OAEP_SHA_256", "RSA_2048");
        let mut request = json!({
            "KeyId": key, "ImportToken": parameters["ImportToken"],
            "EncryptedKeyMaterial": wrapped("RSAES_OAEP_SHA_256", &parameters["PublicKey"], material),
        });
        if more.get("ValidTo").is_none() {
            request["ExpirationModel"] = json!("KEY_MATERIAL_DOES_NOT_EXPIRE");
        }
        merged(request, more)
    }

    pub(super) fn import(&self, key: &str, material: &[u8], more: &Value) -> Result<Value, Refusal> {
        self.call("ImportKeyMaterial", &self.import_request(key, material, more))
    }
}

#[test]
fn material_comes_in_by_every_way_of_wrapping() {
    let fixture = Fixture::new();
    for (algorithm, spec) in [
        ("RSAES_OAEP_SHA_1", "RSA_2048"),
        ("RSAES_OAEP_SHA_256", "RSA_3072"),
        ("RSA_AES_KEY_WRAP_SHA_1", "RSA_2048"),
        ("RSA_AES_KEY_WRAP_SHA_256", "RSA_4096"),
    ] {
        let key = fixture.create_external_key();
        let metadata = fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"].clone();
        assert_eq!((&metadata["KeyState"], &metadata["Enabled"]), (&json!("PendingImport"), &json!(false)));
        assert_eq!(metadata.get("CurrentKeyMaterialId"), None);
        let parameters = fixture.parameters(&key, algorithm, spec);
        assert_eq!(parameters["KeyId"], json!(Fixture::arn(&key)));
        assert_eq!(parameters["ParametersValidTo"], json!(START_S + DAY_S));
        let request = json!({
            "KeyId": key, "ImportToken": parameters["ImportToken"],
            "EncryptedKeyMaterial": wrapped(algorithm, &parameters["PublicKey"], &MATERIAL),
            "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
        });
        let imported = fixture.ok("ImportKeyMaterial", &request);
        assert_eq!(imported["KeyId"], json!(Fixture::arn(&key)), "{algorithm}");
        let metadata = fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"].clone();
        assert_eq!(metadata["KeyState"], "Enabled", "{algorithm}");
        assert_eq!(metadata["Origin"], "EXTERNAL");
        assert_eq!(metadata["CurrentKeyMaterialId"], imported["KeyMaterialId"]);
        assert_eq!(metadata["ExpirationModel"], "KEY_MATERIAL_DOES_NOT_EXPIRE");
        let blob = fixture.encrypt(&key, &json!({}));
        let opened = fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
        assert_eq!(opened["KeyMaterialId"], imported["KeyMaterialId"]);
    }
    let key = fixture.create_external_key();
    for (algorithm, spec) in [("RSAES_PKCS1_V1_5", "RSA_2048"), ("RSAES_OAEP_SHA_256", "SM2")] {
        let request = json!({ "KeyId": key, "WrappingAlgorithm": algorithm, "WrappingKeySpec": spec });
        assert_eq!(fixture.code("GetParametersForImport", &request), "UnsupportedOperationException");
    }
    let request = json!({ "KeyId": key, "WrappingAlgorithm": "ROT13", "WrappingKeySpec": "RSA_2048" });
    assert_eq!(fixture.code("GetParametersForImport", &request), "ValidationException");
}

#[test]
fn material_that_is_not_32_bytes_or_not_wrapped_as_agreed_is_refused() {
    let fixture = Fixture::new();
    let key = fixture.create_external_key();
    for len in [0, 16, 31, 33, 64] {
        let refusal = fixture.import(&key, &vec![7; len], &json!({})).unwrap_err();
        assert_eq!(refusal.0, "IncorrectKeyMaterialException", "{len}");
    }
    let request = fixture.import_request(&key, &MATERIAL, &json!({}));
    let parameters = fixture.parameters(&key, "RSAES_OAEP_SHA_256", "RSA_2048");
    for algorithm in ["RSAES_OAEP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256"] {
        let other = json!({
            "ImportToken": parameters["ImportToken"],
            "EncryptedKeyMaterial": wrapped(algorithm, &parameters["PublicKey"], &MATERIAL),
        });
        assert_eq!(fixture.code("ImportKeyMaterial", &merged(request.clone(), &other)), "InvalidCiphertextException");
    }
    let with_another_key = json!({ "ImportToken": parameters["ImportToken"] });
    let crossed = merged(request.clone(), &with_another_key);
    assert_eq!(fixture.code("ImportKeyMaterial", &crossed), "InvalidCiphertextException");
    assert_eq!(fixture.state(&key), "PendingImport");
    fixture.ok("ImportKeyMaterial", &request);
    let audit = fixture.audit_text();
    for secret in [&request["ImportToken"], &request["EncryptedKeyMaterial"]] {
        assert!(!audit.contains(&text(secret)));
    }
}

#[test]
fn a_token_is_for_its_key_and_for_a_day() {
    let fixture = Fixture::new();
    let (key, other) = (fixture.create_external_key(), fixture.create_external_key());
    let request = fixture.import_request(&key, &MATERIAL, &json!({}));
    let with = |more: &Value| merged(request.clone(), more);
    assert_eq!(fixture.code("ImportKeyMaterial", &with(&json!({ "KeyId": other }))), "InvalidImportTokenException");
    assert_eq!(
        fixture.code("ImportKeyMaterial", &with(&json!({ "ImportToken": "AAAA" }))),
        "InvalidImportTokenException"
    );
    fixture.pass_ms(DAY_MS);
    fixture.ok("ImportKeyMaterial", &request);
    fixture.pass_ms(1);
    assert_eq!(fixture.code("ImportKeyMaterial", &request), "ExpiredImportTokenException");
}

#[test]
fn material_that_expires_takes_the_key_out_of_use_until_it_comes_again() {
    let fixture = Fixture::new();
    let key = fixture.create_external_key();
    let valid_to = START_S + DAY_S;
    fixture.import(&key, &MATERIAL, &json!({ "ValidTo": valid_to })).unwrap();
    let metadata = fixture.ok("DescribeKey", &json!({ "KeyId": key }))["KeyMetadata"].clone();
    assert_eq!(
        (&metadata["ExpirationModel"], &metadata["ValidTo"]),
        (&json!("KEY_MATERIAL_EXPIRES"), &json!(valid_to))
    );
    let blob = fixture.encrypt(&key, &json!({}));
    fixture.pass_ms(DAY_MS - 1);
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    fixture.pass_ms(1);
    let refusal = fixture.call("Decrypt", &json!({ "CiphertextBlob": blob })).unwrap_err();
    assert_eq!(refusal, ("KMSInvalidStateException", format!("{} is pending import.", Fixture::arn(&key))));
    assert_eq!(fixture.state(&key), "PendingImport");
    let expired = |record: &&Value| record["eventName"] == "DeleteExpiredKeyMaterial";
    let records = fixture.records();
    let events: Vec<&Value> = records.iter().filter(expired).collect();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&events[0]["eventType"], &events[0]["serviceEventDetails"]["keyId"]),
        (&json!("AwsServiceEvent"), &json!(key))
    );
    fixture.import(&key, &MATERIAL, &json!({})).unwrap();
    fixture.pass_ms(1000 * DAY_MS);
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
}

#[test]
fn material_expires_on_a_date_within_a_year_or_never() {
    let fixture = Fixture::new();
    let key = fixture.create_external_key();
    let request = fixture.import_request(&key, &MATERIAL, &json!({}));
    let refused = |more: &Value, part: &str| {
        let mut request = merged(request.clone(), more);
        request.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let (code, message) = fixture.call("ImportKeyMaterial", &request).unwrap_err();
        assert_eq!(code, "ValidationException", "{more}");
        assert!(message.contains(part), "{message}");
    };
    let no_date = "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES";
    refused(&json!({ "ExpirationModel": null }), no_date);
    refused(&json!({ "ExpirationModel": "KEY_MATERIAL_EXPIRES" }), no_date);
    refused(&json!({ "ValidTo": START_S + DAY_S }), "must not be set");
    refused(&json!({ "ExpirationModel": null, "ValidTo": START_S }), "in the future");
    refused(&json!({ "ExpirationModel": null, "ValidTo": START_S + DAY_S * 365.0 + 1.0 }), "365 days");
    refused(&json!({ "ExpirationModel": "PERHAPS" }), "enum value set");
    fixture.import(&key, &MATERIAL, &json!({ "ValidTo": START_S + DAY_S * 365.0 })).unwrap();
}

#[test]
fn deleted_material_is_replaced_by_itself_only() {
    let fixture = Fixture::new();
    let key = fixture.create_external_key();
    let imported = fixture.import(&key, &MATERIAL, &json!({})).unwrap();
    let blob = fixture.encrypt(&key, &json!({}));
    let deleted = fixture.ok("DeleteImportedKeyMaterial", &json!({ "KeyId": key }));
    assert_eq!(deleted, json!({ "KeyId": Fixture::arn(&key), "KeyMaterialId": imported["KeyMaterialId"] }));
    assert_eq!(fixture.code("Decrypt", &json!({ "CiphertextBlob": blob })), "KMSInvalidStateException");
    let fixture = fixture.reopened();
    assert_eq!(fixture.import(&key, &[8; 32], &json!({})).unwrap_err().0, "IncorrectKeyMaterialException");
    assert_eq!(fixture.state(&key), "PendingImport");
    let again = fixture.import(&key, &MATERIAL, &json!({})).unwrap();
    assert_eq!(again["KeyMaterialId"], imported["KeyMaterialId"]);
    assert_eq!(fixture.state(&key), "Enabled");
    fixture.ok("Decrypt", &json!({ "CiphertextBlob": blob }));
    fixture.ok("DeleteImportedKeyMaterial", &json!({ "KeyId": key }));
    assert_eq!(fixture.ok("DeleteImportedKeyMaterial", &json!({ "KeyId": key }))["KeyId"], json!(Fixture::arn(&key)));
}

#[test]
fn keys_whose_material_is_made_here_import_none() {
    let fixture = Fixture::new();
    let (own, external) = (fixture.create_key(), fixture.create_external_key());
    let request = merged(fixture.import_request(&external, &MATERIAL, &json!({})), &json!({ "KeyId": own }));
    let message = format!("{} origin is AWS_KMS which is not valid for this operation.", Fixture::arn(&own));
    for (operation, request) in [
        ("ImportKeyMaterial", request),
        ("DeleteImportedKeyMaterial", json!({ "KeyId": own })),
        (
            "GetParametersForImport",
            json!({ "KeyId": own, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" }),
        ),
    ] {
        let refusal = fixture.call(operation, &request).unwrap_err();
        assert_eq!(refusal, ("UnsupportedOperationException", message.clone()), "{operation}");
    }
}

#[test]
fn keys_with_imported_material_do_not_rotate_by_themselves() {
    let fixture = Fixture::new();
    let key = fixture.create_external_key();
    fixture.import(&key, &MATERIAL, &json!({})).unwrap();
    let message = format!("{} origin is EXTERNAL which is not valid for this operation.", Fixture::arn(&key));
    for operation in ["EnableKeyRotation", "DisableKeyRotation", "GetKeyRotationStatus"] {
        let refusal = fixture.call(operation, &json!({ "KeyId": key })).unwrap_err();
        assert_eq!(refusal, ("UnsupportedOperationException", message.clone()), "{operation}");
    }
}
