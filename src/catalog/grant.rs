//! The grant by which the volume service may use the KMS key, as RDS takes one: asked for at create, kept beside the
//! volume, given back when the volume goes.

use std::fmt;

use kms_client::{AwsKms, Grant, GrantRequest, GrantToken, Kms, KmsKeyArn, Login, Patience, PrincipalArn};
use serde::{Deserialize, Serialize};

use super::asynchronously;
use super::error::CatalogError;
use crate::format::{DatabaseId, VolumeId};

/// What the volume service does with the key: unwrap and probe, tell a disabled key from an outage, and give the grant
/// back.
const OPERATIONS: [&str; 3] = ["Decrypt", "DescribeKey", "RetireGrant"];

/// What is known of it afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeGrant {
    pub id: String,
    pub token: GrantToken,
    pub grantee: PrincipalArn,
}

/// A grant that nobody needs any more, and that is still there.
#[derive(Debug)]
pub struct StandingGrant {
    pub key: KmsKeyArn,
    pub id: String,
    /// Why it could not be retired.
    pub reason: String,
}

/// For this volume only: the canary's context contains the volume's.
pub(super) fn request(
    key: &KmsKeyArn,
    grantee: &PrincipalArn,
    database: &DatabaseId,
    volume: &VolumeId,
) -> GrantRequest {
    GrantRequest {
        key: key.clone(),
        grantee_principal: grantee.clone(),
        retiring_principal: None,
        operations: OPERATIONS.map(str::to_owned).to_vec(),
        context_subset: database.encryption_context(volume),
        // Asked again after an answer that got lost, KMS gives the same grant and not one more.
        name: Some(volume.as_str().to_owned()),
    }
}

impl VolumeGrant {
    /// What a denial may mean; only the owner of the key can tell which.
    pub fn doubt(&self) -> String {
        format!("grant {} was revoked or retired, or a policy overrules it", self.id)
    }

    /// As `profile`, or as whoever runs the command. One that is gone already is as good as retired.
    pub(super) fn retire(&self, key: &KmsKeyArn, profile: Option<&str>) -> Result<(), StandingGrant> {
        let login = Login { profile: profile.map(str::to_owned), region: Some(key.region().to_owned()) };
        let grant = Grant { id: self.id.clone(), token: self.token.clone() };
        let retired = asynchronously(async {
            match AwsKms::connect(&login, Patience::INTERACTIVE).await?.retire_grant(key, &grant).await {
                Err(error) if !error.is_no_such_grant() => Err(CatalogError::from(error)),
                _ => Ok(()),
            }
        });
        retired.map_err(|error| StandingGrant { key: key.clone(), id: self.id.clone(), reason: error.to_string() })
    }
}

impl fmt::Display for StandingGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, id, reason } = self;
        // The AWS CLI takes the region from its settings, not from the ARN.
        write!(
            f,
            "grant {id} still stands, because it could not be retired ({reason}). Whoever may revoke it: \
             aws kms revoke-grant --region {} --key-id {key} --grant-id {id}",
            key.region()
        )
    }
}
