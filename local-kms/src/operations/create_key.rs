//! CreateKey: a symmetric key for encryption and decryption, with material made here or to be imported.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::SYMMETRIC_DEFAULT;
use super::key_metadata::KeyMetadata;
use super::put_key_policy::{check_policy, constrain_policy};
use super::rotation::replace_material;
use super::tags::{check_tags, constrain_tags, describe_tags};
use crate::error::KmsError;
use crate::state::{KeyId, KeyManager, KeyOrigin, KeyRecord, KeyState, MaterialMade, Tag};

const KEY_USAGES: [&str; 4] = ["SIGN_VERIFY", "ENCRYPT_DECRYPT", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"];
const ORIGINS: [&str; 4] = ["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];
const KEY_SPECS: [&str; 17] = [
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "ECC_NIST_P256",
    "ECC_NIST_P384",
    "ECC_NIST_P521",
    "ECC_SECG_P256K1",
    SYMMETRIC_DEFAULT,
    "HMAC_224",
    "HMAC_256",
    "HMAC_384",
    "HMAC_512",
    "SM2",
    "ML_DSA_44",
    "ML_DSA_65",
    "ML_DSA_87",
    "ECC_NIST_EDWARDS25519",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateKey {
    policy: Option<String>,
    description: Option<String>,
    key_usage: Option<String>,
    customer_master_key_spec: Option<String>,
    key_spec: Option<String>,
    origin: Option<String>,
    custom_key_store_id: Option<String>,
    bypass_policy_lockout_safety_check: Option<bool>,
    tags: Option<Vec<Tag>>,
    multi_region: Option<bool>,
    xks_key_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Response {
    key_metadata: KeyMetadata,
}

impl Operation for CreateKey {
    const NAME: &'static str = "CreateKey";
    const READ_ONLY: bool = false;
    type Response = Response;

    fn parameters(&self) -> Value {
        let tags = self.tags.as_ref().map(|tags| {
            tags.iter().map(|tag| json!({ "tagKey": tag.tag_key, "tagValue": tag.tag_value })).collect::<Vec<_>>()
        });
        json!({
            "policy": self.policy,
            "description": self.description,
            "keyUsage": self.key_usage,
            "customerMasterKeySpec": self.customer_master_key_spec,
            "keySpec": self.key_spec,
            "origin": self.origin,
            "customKeyStoreId": self.custom_key_store_id,
            "bypassPolicyLockoutSafetyCheck": self.bypass_policy_lockout_safety_check,
            "tags": tags,
            "multiRegion": self.multi_region,
            "xksKeyId": self.xks_key_id,
        })
    }

    fn perform(&self, call: &mut Call) -> Result<Response, KmsError> {
        self.check_constraints()?;
        self.check_supported()?;
        let tags = self.tags.as_deref().unwrap_or_default();
        check_tags(tags)?;
        describe_tags(tags, call);
        let bypasses = self.bypass_policy_lockout_safety_check == Some(true);
        call.facts.insert("kms:BypassPolicyLockoutSafetyCheck", bypasses.to_string());
        let origin = if self.origin.as_deref() == Some("EXTERNAL") { KeyOrigin::External } else { KeyOrigin::AwsKms };
        call.facts.insert("kms:KeyOrigin", origin.name());
        call.facts.insert("kms:KeySpec", SYMMETRIC_DEFAULT);
        call.facts.insert("kms:KeyUsage", "ENCRYPT_DECRYPT");
        call.permit("*")?;

        let mut key = KeyRecord {
            id: KeyId::generate(),
            description: self.description.clone().unwrap_or_default(),
            created: call.now,
            state: KeyState::PendingImport,
            material: None,
            tags: tags.to_vec(),
            manager: KeyManager::Customer,
            origin,
            rotation: None,
            materials: Vec::new(),
        };
        let reading = call.kms.state.read_newest()?;
        let policy = self.policy.as_deref().map(|policy| check_policy(call, &reading, policy, bypasses, &key));
        let policy = policy.transpose()?;
        let material = match origin {
            KeyOrigin::External => None,
            KeyOrigin::AwsKms => Some(call.kms.seal_new_material(key.id)?),
        };
        if let Some(material) = &material {
            key.state = KeyState::Enabled;
            replace_material(&mut key, material.id, MaterialMade::WithTheKey, call.now);
        }
        call.kms.state.write(|writing| {
            if let Some(material) = &material {
                writing.put_material(key.id, material.id, &material.bytes)?;
            }
            if let Some(policy) = policy {
                writing.put_key_policy(key.id, policy)?;
            }
            writing.put_key(&key).map_err(KmsError::from)
        })?;
        call.trail.resources.push(call.arn(&key));
        let key_metadata = KeyMetadata::of(&key, &call.kms.account);
        call.trail.response_elements = Some(json!({ "keyMetadata": key_metadata.for_trail()? }));
        Ok(Response { key_metadata })
    }
}

impl CreateKey {
    fn check_constraints(&self) -> Result<(), KmsError> {
        let mut constraints = Constraints::default();
        constrain_policy(&mut constraints, self.policy.as_deref());
        constraints.length("description", self.description.as_deref(), 0..=8192);
        constraints.one_of("keyUsage", self.key_usage.as_deref(), &KEY_USAGES);
        constraints.one_of("customerMasterKeySpec", self.customer_master_key_spec.as_deref(), &KEY_SPECS);
        constraints.one_of("keySpec", self.key_spec.as_deref(), &KEY_SPECS);
        constraints.one_of("origin", self.origin.as_deref(), &ORIGINS);
        constrain_tags(&mut constraints, self.tags.as_deref());
        constraints.check()
    }

    /// Refuses what a key made here would not be or do, rather than making one that is or does less.
    fn check_supported(&self) -> Result<(), KmsError> {
        if self.key_spec.is_some() && self.customer_master_key_spec.is_some() {
            return Err(KmsError::Validation(
                "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is \
                 deprecated."
                    .to_owned(),
            ));
        }
        let spec = self.key_spec.as_deref().or(self.customer_master_key_spec.as_deref()).unwrap_or(SYMMETRIC_DEFAULT);
        let unsupported = |what: String| Err(KmsError::Unsupported(format!("{what} is not supported by this server.")));
        match self.key_usage.as_deref() {
            _ if spec != SYMMETRIC_DEFAULT => return unsupported(format!("KeySpec {spec}")),
            Some(usage) if usage != "ENCRYPT_DECRYPT" => {
                return Err(KmsError::Validation(format!("KeyUsage {usage} is not compatible with KeySpec {spec}")));
            }
            _ => {}
        }
        match self.origin.as_deref() {
            None | Some("AWS_KMS" | "EXTERNAL") => {}
            Some(origin) => return unsupported(format!("Origin {origin}")),
        }
        let refused = [
            ("MultiRegion", self.multi_region == Some(true)),
            ("CustomKeyStoreId", self.custom_key_store_id.is_some()),
            ("XksKeyId", self.xks_key_id.is_some()),
        ];
        match refused.into_iter().find(|(_, given)| *given) {
            Some((member, _)) => unsupported(member.to_owned()),
            None => Ok(()),
        }
    }
}
