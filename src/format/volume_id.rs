//! The name of a volume, as EBS names them: `vol-` and up to 32 characters.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `vol-` followed by 1 to 32 of `A-Z a-z 0-9 -`: safe as a directory name and in an encryption context.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeId(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a volume id: `vol-` followed by 1 to 32 letters, digits or hyphens")]
pub struct InvalidVolumeId(String);

impl VolumeId {
    /// A fresh id, shaped like those of EBS: `vol-` and 17 lower-case hexadecimal digits.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        Ok(Self(format!("vol-0{:016x}", u64::from_le_bytes(random))))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeId {
    type Err = InvalidVolumeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.strip_prefix("vol-").is_some_and(|rest| {
            (1..=32).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidVolumeId(text.to_owned())) }
    }
}

impl TryFrom<String> for VolumeId {
    type Error = InvalidVolumeId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<VolumeId> for String {
    fn from(id: VolumeId) -> Self {
        id.0
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_a_directory_may_be_called() {
        for good in ["vol-0", "vol-0123456789abcdef0", "vol-Orders-DB", &format!("vol-{}", "x".repeat(32))] {
            assert_eq!(good.parse::<VolumeId>().unwrap().as_str(), good);
        }
    }

    #[test]
    fn refuses_the_rest() {
        let long = format!("vol-{}", "x".repeat(33));
        for bad in
            ["", "vol", "vol-", "Vol-1", "snap-1", "vol-a/b", "vol-..", "vol-a b", "vol-a\n", "vol-ä", "vol-a\0", &long]
        {
            assert!(bad.parse::<VolumeId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn random_ids_are_valid_and_differ() {
        let (one, other) = (VolumeId::random().unwrap(), VolumeId::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.as_str().len(), 21);
        assert_eq!(one.as_str().parse::<VolumeId>().unwrap(), one);
    }

    #[test]
    fn json_is_checked_too() {
        assert_eq!(serde_json::from_str::<VolumeId>("\"vol-1\"").unwrap().as_str(), "vol-1");
        assert!(serde_json::from_str::<VolumeId>("\"../vol-1\"").is_err());
    }
}
