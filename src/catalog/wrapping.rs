//! What KMS is asked at create, in this order: is the key fit, may a grant be made, the two wrapped keys, the grant.
//!
//! All of it with the credentials of whoever runs `envol create`; only the volume service unwraps.

use kms_client::{AwsKms, EncryptionContext, Kms, KmsError, KmsKeyArn, KmsKeyId, Login, Patience, WrappedKey};

use serde::{Deserialize, Serialize};

use super::asynchronously;
use super::create::CreateRequest;
use super::error::{CREATOR, CatalogError};
use super::grant::{self, VolumeGrant};

/// As EBS asks for: two AES-256 keys.
const VOLUME_KEY_LEN: u16 = 64;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct WrappedKeys {
    pub(super) kms_key: KmsKeyArn,
    pub(super) volume_key: WrappedKey,
    pub(super) canary: WrappedKey,
    pub(super) grant: Option<VolumeGrant>,
}

/// As RDS does: the key is described first, then the volume key is made under it without showing itself. The grant comes
/// last, so that there is none to take back when anything before it fails.
pub(super) fn wrap_keys(request: &CreateRequest) -> Result<WrappedKeys, CatalogError> {
    asynchronously(async {
        let login = Login { profile: None, region: request.kms_key.region().map(str::to_owned) };
        let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await?;
        let refused = |error: KmsError, key: &str| CatalogError::refused(error, key, CREATOR, None);

        let key = kms.describe_key(&request.kms_key).await.map_err(|error| refused(error, &request.kms_key.0))?;
        if !key.wraps_data_keys {
            return Err(CatalogError::Usage(format!(
                "KMS key {} cannot wrap data keys; a volume needs a symmetric key for encryption and decryption",
                key.arn
            )));
        }
        let refused = |error| refused(error, key.arn.as_str());
        let wanted = request
            .grantee
            .as_ref()
            .map(|grantee| (grantee, grant::request(&key.arn, grantee, &request.database_id, &request.id)));
        if let Some((_, wanted)) = &wanted {
            kms.may_create_grant(wanted).await.map_err(refused)?;
        }
        let id = KmsKeyId::from(&key.arn);
        let wrap = async |context: &EncryptionContext| {
            kms.generate_data_key_without_plaintext(&id, VOLUME_KEY_LEN, context).await.map_err(refused)
        };
        let (volume_key, kms_key) = wrap(&request.database_id.encryption_context(&request.id)).await?;
        let (canary, _) = wrap(&request.database_id.canary_context(&request.id)).await?;
        let grant = match wanted {
            Some((grantee, wanted)) => {
                let made = kms.create_grant(&wanted).await.map_err(refused)?;
                Some(VolumeGrant { id: made.id, token: made.token, grantee: grantee.clone() })
            }
            None => None,
        };
        Ok(WrappedKeys { kms_key, volume_key, canary, grant })
    })
}
