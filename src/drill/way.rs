//! The ways in which the owner of a key can take it away.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.Keys.html> names what makes a database
/// of RDS inaccessible; each of these does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    DisableKey,
    ScheduleKeyDeletion,
    RevokeGrant,
    DenyPolicy,
    DeleteKeyMaterial,
}

impl Way {
    pub const ALL: [Self; 5] =
        [Self::DisableKey, Self::ScheduleKeyDeletion, Self::RevokeGrant, Self::DenyPolicy, Self::DeleteKeyMaterial];

    pub fn name(self) -> &'static str {
        match self {
            Self::DisableKey => "disable-key",
            Self::ScheduleKeyDeletion => "schedule-key-deletion",
            Self::RevokeGrant => "revoke-grant",
            Self::DenyPolicy => "deny-policy",
            Self::DeleteKeyMaterial => "delete-key-material",
        }
    }

    /// What is called, in AWS's words.
    pub fn operation(self) -> &'static str {
        match self {
            Self::DisableKey => "DisableKey",
            Self::ScheduleKeyDeletion => "ScheduleKeyDeletion",
            Self::RevokeGrant => "RevokeGrant",
            Self::DenyPolicy => "PutKeyPolicy",
            Self::DeleteKeyMaterial => "DeleteImportedKeyMaterial",
        }
    }

    /// KMS answers `AccessDenied` then, which is asked again before it is believed.
    pub fn is_denial(self) -> bool {
        matches!(self, Self::RevokeGrant | Self::DenyPolicy)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Way {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|way| way.name() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|way| way.name()).collect();
            format!("one of {}", names.join(", "))
        })
    }
}
