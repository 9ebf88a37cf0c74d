//! The key-state matrix of the AWS KMS Developer Guide, for the operations and states that exist here.

use serde_json::{Value, json};

use super::imports::MATERIAL;
use super::principals::{ROOT, document, says};
use super::{Fixture, Refusal};

#[derive(Clone, Copy, Debug)]
enum In {
    Enabled,
    Disabled,
    PendingDeletion,
    PendingImport,
}

use In::{Disabled, Enabled, PendingDeletion, PendingImport};

const STATES: [In; 4] = [Enabled, Disabled, PendingDeletion, PendingImport];

impl In {
    fn put(self, fixture: &Fixture, key: &str) {
        let operation = match self {
            Enabled => return,
            Disabled => "DisableKey",
            PendingDeletion => "ScheduleKeyDeletion",
            PendingImport => "DeleteImportedKeyMaterial",
        };
        fixture.ok(operation, &json!({ "KeyId": key }));
    }
}

/// What the matrix says: `[Enabled, Disabled, PendingDeletion, PendingImport]`, each "ok" or an error.
type Row = (&'static str, Value, [&'static str; 4]);

const OK: &str = "ok";
const DISABLED: &str = "DisabledException is disabled.";
const PENDING: &str = "KMSInvalidStateException is pending deletion.";
const NOT_PENDING: &str = "KMSInvalidStateException is not pending deletion.";
const IMPORT: &str = "KMSInvalidStateException is pending import.";
const EXTERNAL: &str = "UnsupportedOperationException origin is EXTERNAL which is not valid for this operation.";
const WOULD: &str = "DryRunOperationException";

/// The key of a cell, and what there is of it.
struct Cell {
    key: String,
    other: String,
    blob: Value,
    others: Value,
    grant: Value,
}

impl Cell {
    fn new(fixture: &Fixture, key: String) -> Self {
        let other = fixture.create_key();
        let (blob, others) = (fixture.encrypt(&key, &json!({})), fixture.encrypt(&other, &json!({})));
        fixture.ok("CreateAlias", &json!({ "AliasName": "alias/its", "TargetKeyId": key }));
        fixture.ok("CreateAlias", &json!({ "AliasName": "alias/others", "TargetKeyId": other }));
        let grant = fixture.ok("CreateGrant", &grant(&key))["GrantId"].clone();
        Self { key, other, blob, others, grant }
    }

    fn check(&self, fixture: &Fixture, state: In, (operation, request, expected): &Row) {
        state.put(fixture, &self.key);
        let answer = shown(&self.key, fixture.call(operation, request));
        assert_eq!(answer, expected[state as usize], "{operation} {request} in {state:?}");
        for alias in ["alias/its", "alias/others", "alias/new"] {
            let _ = fixture.call("DeleteAlias", &json!({ "AliasName": alias }));
        }
    }
}

fn shown(key: &str, answer: Result<Value, Refusal>) -> String {
    match answer {
        Ok(_) => OK.to_owned(),
        Err((WOULD, _)) => WOULD.to_owned(),
        Err((code, message)) => format!("{code} {}", message.replace(&Fixture::arn(key), "").trim()),
    }
}

fn grant(key: &str) -> Value {
    let admin = "arn:aws:iam::111122223333:user/envol-admin";
    json!({ "KeyId": key, "GranteePrincipal": admin, "RetiringPrincipal": admin, "Operations": ["Decrypt"] })
}

fn rows(Cell { key, other, blob, others, grant: grant_id }: &Cell) -> Vec<Row> {
    let crypto = [OK, DISABLED, PENDING, IMPORT];
    let manage = [OK, OK, PENDING, OK];
    let switch = [OK, OK, PENDING, IMPORT];
    let rotate = [OK, DISABLED, PENDING, EXTERNAL];
    let always = [OK; 4];
    let dry_run = json!({ "KeyId": key, "DryRun": true, "DryRunModifiers": ["IGNORE_CIPHERTEXT"] });
    let would = [WOULD, DISABLED, PENDING, IMPORT];
    let policy = document(&[says("Allow", ROOT, "kms:*")]);
    vec![
        ("CancelKeyDeletion", json!({ "KeyId": key }), [NOT_PENDING, NOT_PENDING, OK, NOT_PENDING]),
        ("CreateAlias", json!({ "AliasName": "alias/new", "TargetKeyId": key }), manage),
        ("CreateGrant", grant(key), crypto),
        ("Decrypt", json!({ "CiphertextBlob": blob }), crypto),
        ("Decrypt", json!({ "CiphertextBlob": blob, "KeyId": key }), crypto),
        ("Decrypt", json!({ "CiphertextBlob": blob, "DryRun": true }), would),
        ("Decrypt", dry_run, would),
        ("DeleteAlias", json!({ "AliasName": "alias/its" }), always),
        ("DescribeKey", json!({ "KeyId": key }), always),
        ("DisableKey", json!({ "KeyId": key }), switch),
        ("DisableKeyRotation", json!({ "KeyId": key }), rotate),
        ("EnableKey", json!({ "KeyId": key }), switch),
        ("EnableKeyRotation", json!({ "KeyId": key }), rotate),
        ("Encrypt", json!({ "KeyId": key, "Plaintext": "c2VjcmV0" }), crypto),
        ("GenerateDataKey", json!({ "KeyId": key, "NumberOfBytes": 64 }), crypto),
        ("GenerateDataKeyWithoutPlaintext", json!({ "KeyId": key, "KeySpec": "AES_256" }), crypto),
        ("GetKeyLastUsage", json!({ "KeyId": key }), always),
        ("GetKeyPolicy", json!({ "KeyId": key }), always),
        ("GetKeyRotationStatus", json!({ "KeyId": key }), [OK, OK, OK, EXTERNAL]),
        ("ListAliases", json!({ "KeyId": key }), always),
        ("ListGrants", json!({ "KeyId": key }), always),
        ("ListKeyPolicies", json!({ "KeyId": key }), always),
        ("ListKeyRotations", json!({ "KeyId": key }), always),
        ("ListResourceTags", json!({ "KeyId": key }), always),
        ("PutKeyPolicy", json!({ "KeyId": key, "Policy": policy }), always),
        ("ReEncrypt", json!({ "CiphertextBlob": blob, "DestinationKeyId": other }), crypto),
        ("ReEncrypt", json!({ "CiphertextBlob": others, "DestinationKeyId": key }), crypto),
        ("RetireGrant", json!({ "KeyId": key, "GrantId": grant_id }), always),
        ("RevokeGrant", json!({ "KeyId": key, "GrantId": grant_id }), always),
        ("RotateKeyOnDemand", json!({ "KeyId": key }), crypto),
        ("ScheduleKeyDeletion", json!({ "KeyId": key }), manage),
        ("TagResource", json!({ "KeyId": key, "Tags": [{ "TagKey": "a", "TagValue": "b" }] }), manage),
        ("UntagResource", json!({ "KeyId": key, "TagKeys": ["a"] }), manage),
        ("UpdateAlias", json!({ "AliasName": "alias/others", "TargetKeyId": key }), manage),
        ("UpdateAlias", json!({ "AliasName": "alias/its", "TargetKeyId": other }), always),
        ("UpdateKeyDescription", json!({ "KeyId": key, "Description": "d" }), manage),
    ]
}

#[test]
fn every_cell_of_the_matrix() {
    let fixture = Fixture::new();
    let mut row = 0;
    loop {
        for state in STATES {
            let external = matches!(state, PendingImport);
            let key = if external { with_imported_material(&fixture) } else { fixture.create_key() };
            let cell = Cell::new(&fixture, key);
            let rows = rows(&cell);
            let Some(row) = rows.get(row) else { return };
            cell.check(&fixture, state, row);
        }
        row += 1;
    }
}

#[test]
fn every_cell_that_is_about_imported_material() {
    let fixture = Fixture::new();
    let parameters =
        |key: &str| json!({ "KeyId": key, "WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048" });
    for state in STATES {
        let cells = [0; 3].map(|_| Cell {
            key: with_imported_material(&fixture),
            other: String::new(),
            blob: Value::Null,
            others: Value::Null,
            grant: Value::Null,
        });
        let [read, import, delete] = &cells;
        let again = fixture.import_request(&import.key, &MATERIAL, &json!({}));
        read.check(&fixture, state, &("GetParametersForImport", parameters(&read.key), [OK, OK, PENDING, OK]));
        import.check(&fixture, state, &("ImportKeyMaterial", again, [OK, OK, PENDING, OK]));
        delete.check(&fixture, state, &("DeleteImportedKeyMaterial", json!({ "KeyId": delete.key }), [OK; 4]));
        let after = match state {
            PendingDeletion => "PendingDeletion",
            _ => "PendingImport",
        };
        assert_eq!(fixture.state(&delete.key), after);
    }
}

/// A key with imported material, put there without the wrapping.
fn with_imported_material(fixture: &Fixture) -> String {
    use crate::ciphertext::KeyMaterial;
    use crate::import::material_id;
    use crate::state::{ImportRecord, KeyState, Lookup, MaterialMade, MaterialRecord, StateError};

    let key = fixture.create_external_key();
    let id = key.parse().unwrap();
    let secret = KeyMaterial::from_bytes(&MATERIAL).unwrap();
    let material = material_id(id, &secret);
    let sealed = fixture.kms.seal_material(id, material, &secret).unwrap();
    let import = ImportRecord { present: true, expires: None, description: None };
    fixture
        .kms
        .state
        .write(|writing| {
            let mut record = writing.key(id)?.unwrap();
            (record.state, record.material) = (KeyState::Enabled, Some(material));
            let (made, current_since) = (MaterialMade::WithTheKey, Some(record.created));
            record.materials.push(MaterialRecord { id: material, made, current_since, import: Some(import) });
            writing.put_material(id, material, &sealed)?;
            writing.put_key(&record)?;
            Ok::<_, StateError>(())
        })
        .unwrap();
    key
}

#[test]
fn states_change_as_documented_and_survive_a_restart() {
    let fixture = Fixture::new();
    let key = fixture.create_key();
    let change = |fixture: &Fixture, operation: &str| drop(fixture.ok(operation, &json!({ "KeyId": key })));
    change(&fixture, "DisableKey");
    change(&fixture, "DisableKey");
    let fixture = fixture.reopened();
    assert_eq!(fixture.state(&key), "Disabled");
    change(&fixture, "EnableKey");
    assert_eq!(fixture.state(&key), "Enabled");
    change(&fixture, "ScheduleKeyDeletion");
    let fixture = fixture.reopened();
    assert_eq!(fixture.state(&key), "PendingDeletion");
    change(&fixture, "CancelKeyDeletion");
    assert_eq!(fixture.state(&key), "Disabled", "cancelling alone must not make the key work");
    change(&fixture, "EnableKey");
    fixture.encrypt(&key, &json!({}));
}
