//! What KMS is asked at create, in this order: is the key fit, may a grant be made, the two wrapped keys, the grant. A rewrap
//! asks the same of the key where the volume goes.
//!
//! All of it with the credentials of whoever runs the command; only the volume service unwraps.

use kms_client::{
    AwsKms, EncryptionContext, Grant, GrantRequest, Kms, KmsError, KmsKeyArn, KmsKeyId, Login, Patience, PrincipalArn,
    WrappedKey,
};

use serde::{Deserialize, Serialize};

use super::asynchronously;
use super::create::CreateRequest;
use super::error::{CREATOR, CatalogError, REWRAPPER};
use super::grant::{self, VolumeGrant};
use crate::format::Superblock;

/// As EBS asks for: two AES-256 keys.
const VOLUME_KEY_LEN: u16 = 64;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WrappedKeys {
    pub kms_key: KmsKeyArn,
    pub(super) volume_key: WrappedKey,
    pub(super) canary: WrappedKey,
    pub grant: Option<VolumeGrant>,
}

/// As RDS does: the key is described first, then the volume key is made under it without showing itself. The grant comes
/// last, so that there is none to take back when anything before it fails.
pub(super) fn wrap_keys(request: &CreateRequest) -> Result<WrappedKeys, CatalogError> {
    asynchronously(async {
        let login = Login { profile: None, region: request.kms_key.region().map(str::to_owned) };
        let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await?;
        let key = fit_key(&kms, &request.kms_key, CREATOR).await?;
        let refused = |error: KmsError| CatalogError::refused(error, key.as_str(), CREATOR, None);
        let wanted = request
            .grantee
            .as_ref()
            .map(|grantee| (grantee, grant::request(&key, grantee, &request.database_id, &request.id)));
        if let Some((_, wanted)) = &wanted {
            kms.may_create_grant(wanted).await.map_err(refused)?;
        }
        let id = KmsKeyId::from(&key);
        let wrap = async |context: &EncryptionContext| {
            kms.generate_data_key_without_plaintext(&id, VOLUME_KEY_LEN, context).await.map_err(refused)
        };
        let (volume_key, kms_key) = wrap(&request.database_id.encryption_context(&request.id)).await?;
        let (canary, _) = wrap(&request.database_id.canary_context(&request.id)).await?;
        let grant = match wanted {
            Some((grantee, wanted)) => Some(standing(kms.create_grant(&wanted).await.map_err(refused)?, grantee)),
            None => None,
        };
        Ok(WrappedKeys { kms_key, volume_key, canary, grant })
    })
}

/// The wrapped keys of a volume as they are under another KMS key of the same Region, and a grant there if there is one here.
/// The plaintext stays in KMS. `None`: the header names that key already.
pub(super) fn rewrap_keys(
    header: &Superblock,
    grantee: Option<&PrincipalArn>,
    to: &KmsKeyId,
) -> Result<Option<WrappedKeys>, CatalogError> {
    let (from, volume) = (&header.kms_key, &header.volume_id);
    if let Some(region) = to.region().filter(|region| *region != from.region()) {
        return Err(CatalogError::Usage(format!(
            "KMS key {to} is in {region}, and volume {volume} is under a key in {}: KMS re-encrypts within one Region only. Take \
             a snapshot, copy it under that key (`envol snapshot copy --kms-key`), and make a new volume of it",
            from.region()
        )));
    }
    asynchronously(async {
        let login = Login { profile: None, region: Some(from.region().to_owned()) };
        let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await?;
        let to = fit_key(&kms, to, REWRAPPER).await?;
        if to == *from {
            return Ok(None);
        }
        let refused = |error: KmsError| CatalogError::refused(error, to.as_str(), REWRAPPER, None);
        let wanted: Option<(&PrincipalArn, GrantRequest)> =
            grantee.map(|grantee| (grantee, grant::request(&to, grantee, &header.database_id, volume)));
        if let Some((_, wanted)) = &wanted {
            kms.may_create_grant(wanted).await.map_err(refused)?;
        }
        let id = KmsKeyId::from(&to);
        let move_key = async |wrapped: &WrappedKey, context: &EncryptionContext| {
            let moved = kms.re_encrypt(from, wrapped, context, &id).await;
            let moved = moved.map_err(|error| CatalogError::re_encryption_refused(error, from, &to));
            moved.map(|moved| moved.wrapped)
        };
        let volume_context = header.database_id.encryption_context(volume);
        let volume_key = move_key(&header.wrapped_volume_key, &volume_context).await?;
        let canary = move_key(&header.wrapped_canary, &header.database_id.canary_context(volume)).await?;
        let grant = match wanted {
            Some((grantee, wanted)) => Some(standing(kms.create_grant(&wanted).await.map_err(refused)?, grantee)),
            None => None,
        };
        Ok(Some(WrappedKeys { kms_key: to, volume_key, canary, grant }))
    })
}

/// One that can hold volume keys.
async fn fit_key(kms: &AwsKms, named: &KmsKeyId, person: &str) -> Result<KmsKeyArn, CatalogError> {
    let key = kms.describe_key(named).await;
    let key = key.map_err(|error| CatalogError::refused(error, &named.0, person, None))?;
    if !key.wraps_data_keys {
        return Err(CatalogError::Usage(format!(
            "KMS key {} cannot wrap data keys; a volume needs a symmetric key for encryption and decryption",
            key.arn
        )));
    }
    Ok(key.arn)
}

fn standing(made: Grant, grantee: &PrincipalArn) -> VolumeGrant {
    VolumeGrant { id: made.id, token: made.token, grantee: grantee.clone() }
}
