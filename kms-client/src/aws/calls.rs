//! What a volume asks of KMS, as AWS calls.
//!
//! Plaintext is moved, never copied, from the SDK's answer into a buffer that is wiped. The buffers in which HTTP and
//! TLS received it are out of reach: whoever needs those gone ends the process.

use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyManagerType, KeySpec, KeyUsageType};
use zeroize::Zeroizing;

use super::AwsKms;
use crate::answer::KmsError;
use crate::grant::{Grant, GrantRequest};
use crate::traits::Kms;
use crate::types::{
    DataKey, Decrypted, EncryptionContext, KeyDescription, KeyState, KmsKeyArn, KmsKeyId, ReEncrypted, WrappedKey,
};

impl Kms for AwsKms {
    async fn describe_key(&self, key: &KmsKeyId) -> Result<KeyDescription, KmsError> {
        const OPERATION: &str = "DescribeKey";
        let request = self.client.describe_key().key_id(&key.0);
        let answer = self.with_token(OPERATION, |tokens| request.clone().set_grant_tokens(tokens).send()).await?;
        let answered = Answered { kms: self, operation: OPERATION, request_id: answer.request_id() };
        let metadata = answered.has("KeyMetadata", answer.key_metadata())?;
        let state = answered.has("KeyState", metadata.key_state())?;
        Ok(KeyDescription {
            arn: answered.arn(metadata.arn())?,
            state: KeyState::from_name(state.as_str()),
            wraps_data_keys: metadata.key_usage() == Some(&KeyUsageType::EncryptDecrypt)
                && metadata.key_spec() == Some(&KeySpec::SymmetricDefault),
            aws_managed: metadata.key_manager() == Some(&KeyManagerType::Aws),
        })
    }

    async fn generate_data_key(
        &self,
        key: &KmsKeyId,
        len_bytes: u16,
        context: &EncryptionContext,
    ) -> Result<DataKey, KmsError> {
        const OPERATION: &str = "GenerateDataKey";
        let answer = self
            .client
            .generate_data_key()
            .key_id(&key.0)
            .number_of_bytes(i32::from(len_bytes))
            .set_encryption_context(pairs(context))
            .send()
            .await;
        let mut answer = answer.map_err(|error| self.parties.failure(OPERATION, &error))?;
        let plaintext = taken(&mut answer.plaintext);
        let answered = Answered { kms: self, operation: OPERATION, request_id: answer.request_id() };
        Ok(DataKey {
            plaintext: answered.plaintext(plaintext)?,
            wrapped: answered.wrapped(answer.ciphertext_blob())?,
            kms_key: answered.arn(answer.key_id())?,
        })
    }

    async fn generate_data_key_without_plaintext(
        &self,
        key: &KmsKeyId,
        len_bytes: u16,
        context: &EncryptionContext,
    ) -> Result<(WrappedKey, KmsKeyArn), KmsError> {
        const OPERATION: &str = "GenerateDataKeyWithoutPlaintext";
        let answer = self
            .client
            .generate_data_key_without_plaintext()
            .key_id(&key.0)
            .number_of_bytes(i32::from(len_bytes))
            .set_encryption_context(pairs(context))
            .send()
            .await;
        let answer = answer.map_err(|error| self.parties.failure(OPERATION, &error))?;
        let answered = Answered { kms: self, operation: OPERATION, request_id: answer.request_id() };
        Ok((answered.wrapped(answer.ciphertext_blob())?, answered.arn(answer.key_id())?))
    }

    async fn decrypt(
        &self,
        key: &KmsKeyArn,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
    ) -> Result<Decrypted, KmsError> {
        const OPERATION: &str = "Decrypt";
        let request = self
            .client
            .decrypt()
            .key_id(key.as_str())
            .ciphertext_blob(Blob::new(wrapped.0.as_slice()))
            .set_encryption_context(pairs(context));
        let mut answer = self.with_token(OPERATION, |tokens| request.clone().set_grant_tokens(tokens).send()).await?;
        let plaintext = taken(&mut answer.plaintext);
        let answered = Answered { kms: self, operation: OPERATION, request_id: answer.request_id() };
        Ok(Decrypted {
            plaintext: answered.plaintext(plaintext)?,
            kms_key: answered.arn(answer.key_id())?,
            request_id: answer.request_id().map(str::to_owned),
        })
    }

    async fn create_grant(&self, request: &GrantRequest) -> Result<Grant, KmsError> {
        self.grant(request, false).await
    }

    async fn may_create_grant(&self, request: &GrantRequest) -> Result<(), KmsError> {
        self.rehearse_grant(request).await
    }

    async fn retire_grant(&self, key: &KmsKeyArn, grant: &Grant) -> Result<(), KmsError> {
        self.retire(key, grant).await
    }

    async fn re_encrypt(
        &self,
        from: &KmsKeyArn,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
        to: &KmsKeyId,
    ) -> Result<ReEncrypted, KmsError> {
        const OPERATION: &str = "ReEncrypt";
        let answer = self
            .client
            .re_encrypt()
            .source_key_id(from.as_str())
            .ciphertext_blob(Blob::new(wrapped.0.as_slice()))
            .set_source_encryption_context(pairs(context))
            .destination_key_id(&to.0)
            .set_destination_encryption_context(pairs(context))
            .send()
            .await;
        let answer = answer.map_err(|error| self.parties.failure(OPERATION, &error))?;
        let answered = Answered { kms: self, operation: OPERATION, request_id: answer.request_id() };
        Ok(ReEncrypted {
            wrapped: answered.wrapped(answer.ciphertext_blob())?,
            kms_key: answered.arn(answer.key_id())?,
        })
    }
}

/// A yes of KMS that still has to hold what it promises: anything may answer 200 with `{}`.
pub(super) struct Answered<'a> {
    pub(super) kms: &'a AwsKms,
    pub(super) operation: &'static str,
    pub(super) request_id: Option<&'a str>,
}

impl Answered<'_> {
    pub(super) fn has<T>(&self, field: &str, value: Option<T>) -> Result<T, KmsError> {
        value.ok_or_else(|| self.kms.parties.incomplete(self.operation, field, self.request_id))
    }

    pub(super) fn arn(&self, text: Option<&str>) -> Result<KmsKeyArn, KmsError> {
        self.has("key ARN", text.and_then(|text| text.parse().ok()))
    }

    /// Where the next page begins, if there is one. A server that says the same place again would say it for ever.
    pub(super) fn next_page(&self, before: Option<&str>, next: Option<&str>) -> Result<Option<String>, KmsError> {
        let goes_on = next.is_none() || next != before;
        self.has("NextMarker", goes_on.then(|| next.map(str::to_owned)))
    }

    fn wrapped(&self, blob: Option<&Blob>) -> Result<WrappedKey, KmsError> {
        let blob = blob.map(|blob| blob.as_ref().to_vec());
        Ok(WrappedKey(self.has("CiphertextBlob", blob.filter(|bytes| !bytes.is_empty()))?))
    }

    fn plaintext(&self, plaintext: Option<Zeroizing<Vec<u8>>>) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        self.has("Plaintext", plaintext.filter(|bytes| !bytes.is_empty()))
    }
}

fn taken(blob: &mut Option<Blob>) -> Option<Zeroizing<Vec<u8>>> {
    blob.take().map(|blob| Zeroizing::new(blob.into_inner()))
}

pub(super) fn pairs(context: &EncryptionContext) -> Option<std::collections::HashMap<String, String>> {
    let pairs = context.0.iter().map(|(name, value)| (name.clone(), value.clone()));
    Some(pairs.collect()).filter(|_| !context.0.is_empty())
}
