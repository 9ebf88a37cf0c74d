//! What crosses the KMS boundary: key names, encryption contexts, wrapped keys.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What a person may call a KMS key: its id, its ARN, an alias (`alias/x`) or the alias's ARN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsKeyId(pub String);

impl KmsKeyId {
    /// The region that the name itself carries, when it is an ARN.
    pub fn region(&self) -> Option<&str> {
        self.0
            .strip_prefix("arn:")?
            .split(':')
            .nth(2)
            .filter(|region| !region.is_empty())
    }
}

impl fmt::Display for KmsKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&KmsKeyArn> for KmsKeyId {
    fn from(arn: &KmsKeyArn) -> Self {
        Self(arn.0.clone())
    }
}

/// The full name of one KMS key: `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`. What a volume's header keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KmsKeyArn(String);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the ARN of a KMS key (arn:aws:kms:REGION:ACCOUNT:key/ID)")]
pub struct InvalidKmsKeyArn(String);

impl KmsKeyArn {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }
}

impl FromStr for KmsKeyArn {
    type Err = InvalidKmsKeyArn;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let whole = matches!(parts[..], ["arn", partition, "kms", region, account, key]
            if !partition.is_empty() && !region.is_empty() && !account.is_empty()
                && key.strip_prefix("key/").is_some_and(|id| !id.is_empty()));
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        if whole && printable {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKmsKeyArn(text.to_owned()))
        }
    }
}

impl TryFrom<String> for KmsKeyArn {
    type Error = InvalidKmsKeyArn;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<KmsKeyArn> for String {
    fn from(arn: KmsKeyArn) -> Self {
        arn.0
    }
}

impl fmt::Display for KmsKeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Additional authenticated data of a KMS call: what was given at wrap must be given at unwrap, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionContext(pub BTreeMap<String, String>);

impl EncryptionContext {
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }
}

/// A key as KMS wrapped it. Opaque; 1 to 6144 bytes. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey(pub Vec<u8>);

/// What `GenerateDataKey` answers.
pub struct DataKey {
    pub plaintext: Zeroizing<Vec<u8>>,
    pub wrapped: WrappedKey,
    pub kms_key: KmsKeyArn,
}

/// What `Decrypt` answers.
pub struct Decrypted {
    pub plaintext: Zeroizing<Vec<u8>>,
    pub kms_key: KmsKeyArn,
    pub request_id: Option<String>,
}

/// What `ReEncrypt` answers.
#[derive(Clone, Debug)]
pub struct ReEncrypted {
    pub wrapped: WrappedKey,
    pub kms_key: KmsKeyArn,
}

/// What `DescribeKey` answers, as far as a volume cares.
#[derive(Clone, Debug)]
pub struct KeyDescription {
    pub arn: KmsKeyArn,
    pub state: KeyState,
    /// `KeyUsage` is `ENCRYPT_DECRYPT` and `KeySpec` is `SYMMETRIC_DEFAULT`: it can wrap a volume key.
    pub wraps_data_keys: bool,
}

/// <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion,
    PendingReplicaDeletion,
    PendingImport,
    Creating,
    Updating,
    Unavailable,
    /// A state that AWS added later.
    Other(String),
}

/// What `CreateGrant` is asked.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    pub key: KmsKeyArn,
    pub grantee_principal: String,
    pub retiring_principal: Option<String>,
    /// AWS names, e.g. `Decrypt`, `RetireGrant`.
    pub operations: Vec<String>,
    pub context_subset: EncryptionContext,
    /// Makes the call idempotent.
    pub name: Option<String>,
}

/// What `CreateGrant` answers. The token bridges the time until the grant is known everywhere in AWS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    pub id: String,
    pub token: String,
}
