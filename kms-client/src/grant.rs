//! What is asked and answered about grants
//! (<https://docs.aws.amazon.com/kms/latest/developerguide/grants.html>).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::principal::PrincipalArn;
use crate::types::{EncryptionContext, KmsKeyArn};

/// What `CreateGrant` is asked.
#[derive(Clone, Debug)]
pub struct GrantRequest {
    pub key: KmsKeyArn,
    pub grantee_principal: PrincipalArn,
    pub retiring_principal: Option<PrincipalArn>,
    /// AWS names, e.g. `Decrypt`, `RetireGrant`.
    pub operations: Vec<String>,
    pub context_subset: EncryptionContext,
    /// Makes the call idempotent.
    pub name: Option<String>,
}

/// What `CreateGrant` answers.
#[derive(Clone, Debug)]
pub struct Grant {
    pub id: String,
    pub token: GrantToken,
}

/// One of the grants of a key, as its owner sees them (`ListGrants`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedGrant {
    pub id: String,
    /// Its tag at creation; a volume's grant has the volume's id.
    pub name: Option<String>,
    pub grantee_principal: Option<String>,
    pub operations: Vec<String>,
}

/// Bridges the time until a grant is known everywhere in AWS; it is of use to the grantee only. `Debug` does not show it,
/// so that it ends up in no log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantToken(String);

impl GrantToken {
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GrantToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantToken(…)")
    }
}
