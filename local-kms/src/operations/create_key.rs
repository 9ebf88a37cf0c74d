//! CreateKey: a symmetric key for encryption and decryption, with material made here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Operation;
use super::call::Call;
use super::constraints::Constraints;
use super::cryptography::SYMMETRIC_DEFAULT;
use super::key_metadata::KeyMetadata;
use crate::ciphertext::KeyMaterial;
use crate::error::KmsError;
use crate::random;
use crate::state::{KeyId, KeyRecord, KeyState, MaterialId, Tag};

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
/// AWS: tags per resource.
const MAX_TAGS: usize = 50;

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
        check_tags(self.tags.as_deref().unwrap_or_default())?;

        let mut material_id = [0; 32];
        random::fill(&mut material_id)?;
        let key = KeyRecord {
            id: KeyId::generate(),
            description: self.description.clone().unwrap_or_default(),
            created: call.now,
            state: KeyState::Enabled,
            material: MaterialId::from_bytes(material_id),
            tags: self.tags.clone().unwrap_or_default(),
        };
        let sealed = call.kms.seal_material(key.id, key.material, &KeyMaterial::generate()?)?;
        call.kms.state.write(|writing| {
            writing.put_material(key.id, key.material, &sealed)?;
            writing.put_key(&key).map_err(KmsError::from)
        })?;
        let key_metadata = KeyMetadata::of(&call.found(key)?, &call.kms.account);
        call.trail.response_elements = Some(json!({ "keyMetadata": key_metadata.for_trail()? }));
        Ok(Response { key_metadata })
    }
}

impl CreateKey {
    fn check_constraints(&self) -> Result<(), KmsError> {
        let mut constraints = Constraints::default();
        constraints.length("policy", self.policy.as_deref(), 1..=131_072);
        constraints.length("description", self.description.as_deref(), 0..=8192);
        constraints.one_of("keyUsage", self.key_usage.as_deref(), &KEY_USAGES);
        constraints.one_of("customerMasterKeySpec", self.customer_master_key_spec.as_deref(), &KEY_SPECS);
        constraints.one_of("keySpec", self.key_spec.as_deref(), &KEY_SPECS);
        constraints.one_of("origin", self.origin.as_deref(), &ORIGINS);
        for (i, tag) in (1..).zip(self.tags.as_deref().unwrap_or_default()) {
            constraints.length(&format!("tags.{i}.member.tagKey"), Some(&tag.tag_key), 1..=128);
            constraints.length(&format!("tags.{i}.member.tagValue"), Some(&tag.tag_value), 0..=256);
        }
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
            None | Some("AWS_KMS") => {}
            Some(origin) => return unsupported(format!("Origin {origin}")),
        }
        let refused = [
            ("Policy", self.policy.is_some()),
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

fn check_tags(tags: &[Tag]) -> Result<(), KmsError> {
    if tags.len() > MAX_TAGS {
        return Err(KmsError::Tag("Too many tags"));
    }
    for (i, tag) in tags.iter().enumerate() {
        if tag.tag_key.to_ascii_lowercase().starts_with("aws:") {
            return Err(KmsError::Tag("Tags beginning with aws: are reserved"));
        }
        if tags[..i].iter().any(|other| other.tag_key == tag.tag_key) {
            return Err(KmsError::Tag("Duplicate tag keys"));
        }
    }
    Ok(())
}
