//! Key material that is made here and given to KMS
//! (<https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys.html>).

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{AlgorithmSpec, ExpirationModelType, WrappingKeySpec};

use super::AwsKms;
use super::calls::Answered;
use crate::answer::KmsError;
use crate::types::KmsKeyArn;

impl AwsKms {
    pub(super) async fn import(&self, key: &KmsKeyArn, material: &[u8; 32]) -> Result<(), KmsError> {
        const PARAMETERS: &str = "GetParametersForImport";
        let parameters = self
            .client
            .get_parameters_for_import()
            .key_id(key.as_str())
            .wrapping_algorithm(AlgorithmSpec::RsaesOaepSha256)
            .wrapping_key_spec(WrappingKeySpec::Rsa3072)
            .send()
            .await;
        let parameters = parameters.map_err(|error| self.parties.failure(PARAMETERS, &error))?;
        let answered = Answered { kms: self, operation: PARAMETERS, request_id: parameters.request_id() };
        let token = answered.has("ImportToken", parameters.import_token())?.clone();
        let public_key = answered.has("PublicKey", parameters.public_key())?;
        let wrapped = answered.has("PublicKey", wrap(public_key.as_ref(), material))?;
        let imported = self
            .client
            .import_key_material()
            .key_id(key.as_str())
            .import_token(token)
            .encrypted_key_material(Blob::new(wrapped))
            .expiration_model(ExpirationModelType::KeyMaterialDoesNotExpire)
            .send()
            .await;
        imported.map(drop).map_err(|error| self.parties.failure("ImportKeyMaterial", &error))
    }
}

/// `RSAES_OAEP_SHA_256` under a key in DER; none if that is no key of RSA.
fn wrap(public_key: &[u8], material: &[u8]) -> Option<Vec<u8>> {
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(public_key).ok()?).ok()?;
    let mut wrapped = vec![0; key.ciphertext_size()];
    let len = key.encrypt(&OAEP_SHA256_MGF1SHA256, material, &mut wrapped, None).ok()?.len();
    wrapped.truncate(len);
    Some(wrapped)
}
