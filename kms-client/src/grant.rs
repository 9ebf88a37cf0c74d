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
