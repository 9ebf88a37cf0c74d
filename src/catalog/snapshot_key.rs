//! The key of a snapshot: KMS wraps it for whoever takes the snapshot, and unwraps it for whoever reads it.

use kms_client::{
    AwsKms, EncryptionContext, GrantRequest, GrantToken, Kms, KmsKeyArn, KmsKeyId, Login, Patience, PrincipalArn,
    WrappedKey,
};

use super::asynchronously;
use super::error::CatalogError;
use crate::format::SnapshotId;
use crate::secret::{LockedArea, SealingKey, UnwrapError, UnwrapRequest, unwrap_volume_key};
use crate::snapshot::HeaderDraft;

/// As long as a volume key: what seals is derived from it.
const SNAPSHOT_KEY_LEN: u16 = 64;

/// A snapshot's key, as its manifest names it.
#[derive(Clone, Debug)]
pub struct WrappedSnapshotKey {
    pub snapshot: SnapshotId,
    pub kms_key: KmsKeyArn,
    pub wrapped: WrappedKey,
    pub context: EncryptionContext,
}

impl WrappedSnapshotKey {
    /// Under the context that a snapshot of this name must have, whatever else its manifest says.
    pub fn of(draft: &HeaderDraft) -> Self {
        Self {
            snapshot: draft.snapshot_id.clone(),
            kms_key: draft.kms_key.clone(),
            wrapped: WrappedKey(draft.wrapped_key.clone()),
            context: draft.database_id.snapshot_context(&draft.volume_id, &draft.snapshot_id),
        }
    }
}

/// A new one, with the credentials of whoever runs the command. Its plaintext never leaves KMS.
pub fn wrap_snapshot_key(
    kms_key: &KmsKeyId,
    snapshot: &SnapshotId,
    context: EncryptionContext,
    person: &str,
) -> Result<WrappedSnapshotKey, CatalogError> {
    asynchronously(async {
        let login = Login { profile: None, region: kms_key.region().map(str::to_owned) };
        let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await?;
        let made = kms.generate_data_key_without_plaintext(kms_key, SNAPSHOT_KEY_LEN, &context).await;
        let (wrapped, arn) = made.map_err(|error| CatalogError::refused(error, &kms_key.0, person, None))?;
        Ok(WrappedSnapshotKey { snapshot: snapshot.clone(), kms_key: arn, wrapped, context })
    })
}

/// What the owner of a key gives to whoever copies a shared snapshot, as for those of EBS
/// (<https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html>).
pub const SHARE_PERMISSIONS: [&str; 6] =
    ["Decrypt", "DescribeKey", "CreateGrant", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo"];

/// A new one under the same KMS key, and the id of a grant by which `with` may use it, for this snapshot alone.
///
/// # Errors
/// [`CatalogError::Usage`]: the KMS key is AWS's, and its policy cannot let anybody else in.
pub fn share_snapshot_key(
    kms_key: &KmsKeyArn,
    snapshot: &SnapshotId,
    context: EncryptionContext,
    with: &PrincipalArn,
    person: &str,
) -> Result<(WrappedSnapshotKey, String), CatalogError> {
    let described = asynchronously(async {
        let kms = AwsKms::connect(&login_for(kms_key), Patience::INTERACTIVE).await?;
        let described = kms.describe_key(&KmsKeyId::from(kms_key)).await;
        described.map_err(|error| CatalogError::refused(error, kms_key.as_str(), person, None))
    })?;
    if described.aws_managed {
        return Err(CatalogError::Usage(format!(
            "you can't share a snapshot that has been encrypted using the AWS managed key of your account ({kms_key}): its \
             policy lets nobody else in and cannot be changed. Copy the snapshot under a key of your own, and share the copy"
        )));
    }
    let key = wrap_snapshot_key(&KmsKeyId::from(kms_key), snapshot, context.clone(), person)?;
    let grant = asynchronously(async {
        let kms = AwsKms::connect(&login_for(kms_key), Patience::INTERACTIVE).await?;
        let request = GrantRequest {
            key: kms_key.clone(),
            grantee_principal: with.clone(),
            retiring_principal: None,
            operations: SHARE_PERMISSIONS.map(str::to_owned).to_vec(),
            // All of it, the snapshot's own name included: no other snapshot and no volume has it.
            context_subset: context,
            name: Some(snapshot.as_str().to_owned()),
        };
        let made = kms.create_grant(&request).await;
        made.map_err(|error| CatalogError::refused(error, kms_key.as_str(), person, None))
    })?;
    Ok((key, grant.id))
}

fn login_for(kms_key: &KmsKeyArn) -> Login {
    Login { profile: None, region: Some(kms_key.region().to_owned()) }
}

/// In a process and a locked area of its own. As `profile`, or as whoever runs the command: `person` says who that is.
pub fn unwrap_snapshot_key(
    key: &WrappedSnapshotKey,
    profile: Option<&str>,
    grant_token: Option<GrantToken>,
    person: &str,
) -> Result<SealingKey, CatalogError> {
    let area = LockedArea::new()?;
    let request = UnwrapRequest {
        kms_key: key.kms_key.clone(),
        wrapped: key.wrapped.clone(),
        context: key.context.clone(),
        profile: profile.map(str::to_owned),
        grant_token,
    };
    let unwrapped = unwrap_volume_key(&area, &request).map_err(|source| match source {
        UnwrapError::Kms(error) if error.answer == kms_client::Answer::AccessDenied => {
            let who = profile.map_or_else(|| person.to_owned(), |name| format!("the profile `{name}`"));
            CatalogError::refused(error, key.kms_key.as_str(), &who, None)
        }
        source => CatalogError::SnapshotKey { id: key.snapshot.clone(), source: Box::new(source) },
    })?;
    Ok(unwrapped.sealing_key()?)
}
