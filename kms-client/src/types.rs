//! What crosses the KMS boundary: key names, encryption contexts, wrapped keys.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What a person may call a KMS key: its id, its ARN, an alias (`alias/x`) or the alias's ARN
/// (<https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id>).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KmsKeyId(pub String);

impl KmsKeyId {
    /// The region that the name itself carries, when it is an ARN.
    pub fn region(&self) -> Option<&str> {
        self.0.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
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
        if whole && printable { Ok(Self(text.to_owned())) } else { Err(InvalidKmsKeyArn(text.to_owned())) }
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
    /// AWS's own key of the account (`alias/aws/…`): its policy is not the account's to change.
    pub aws_managed: bool,
}

/// Where the material of a key that is made comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyOrigin {
    /// KMS makes it.
    Kms,
    /// It is imported.
    External,
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

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Other(name) => f.write_str(name),
            known => write!(f, "{known:?}"),
        }
    }
}

impl KeyState {
    /// From the name that `DescribeKey` gives it.
    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "Enabled" => Self::Enabled,
            "Disabled" => Self::Disabled,
            "PendingDeletion" => Self::PendingDeletion,
            "PendingReplicaDeletion" => Self::PendingReplicaDeletion,
            "PendingImport" => Self::PendingImport,
            "Creating" => Self::Creating,
            "Updating" => Self::Updating,
            "Unavailable" => Self::Unavailable,
            other => Self::Other(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_arn_of_one_key_is_a_key_arn() {
        for good in [
            "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws-cn:kms:cn-north-1:111122223333:key/mrk-0123456789abcdef0123456789abcdef",
        ] {
            let arn: KmsKeyArn = good.parse().expect(good);
            assert_eq!(arn.as_str(), good);
            assert_eq!(KmsKeyId::from(&arn).region(), Some(arn.region()));
        }
        for bad in [
            "",
            "alias/x",
            "1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-1:111122223333:alias/x",
            "arn:aws:kms:us-east-1:111122223333:key/",
            "arn:aws:kms::111122223333:key/1234",
            "arn:aws:s3:us-east-1:111122223333:key/1234",
            "arn:aws:kms:us-east-1:111122223333:key/1234:5",
            "arn:aws:kms:us-east-1:111122223333:key/12\n34",
        ] {
            assert!(bad.parse::<KmsKeyArn>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_region_is_known_from_arns_alone() {
        let region = |name: &str| KmsKeyId(name.to_owned()).region().map(str::to_owned);
        assert_eq!(region("arn:aws:kms:eu-west-1:111122223333:alias/x").as_deref(), Some("eu-west-1"));
        assert_eq!(region("alias/x"), None);
        assert_eq!(region("1234abcd-12ab-34cd-56ef-1234567890ab"), None);
        assert_eq!(region("arn:aws:kms"), None);
    }
}
