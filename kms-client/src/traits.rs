//! The two faces of a KMS: what a volume may ask, and what only a drill may do.

use std::future::Future;

use crate::answer::KmsError;
use crate::grant::{Grant, GrantRequest, ListedGrant};
use crate::types::{
    DataKey, Decrypted, EncryptionContext, KeyDescription, KeyOrigin, KmsKeyArn, KmsKeyId, ReEncrypted, WrappedKey,
};

/// What a volume asks of KMS. Every call is one request, with the client's own bounded retries inside.
pub trait Kms: Send + Sync {
    fn describe_key(&self, key: &KmsKeyId) -> impl Future<Output = Result<KeyDescription, KmsError>> + Send;

    /// A fresh key of `len_bytes` (1 to 1024), in the clear and wrapped under `key` and `context`.
    fn generate_data_key(
        &self,
        key: &KmsKeyId,
        len_bytes: u16,
        context: &EncryptionContext,
    ) -> impl Future<Output = Result<DataKey, KmsError>> + Send;

    /// As [`Kms::generate_data_key`], but the plaintext never leaves KMS.
    fn generate_data_key_without_plaintext(
        &self,
        key: &KmsKeyId,
        len_bytes: u16,
        context: &EncryptionContext,
    ) -> impl Future<Output = Result<(WrappedKey, KmsKeyArn), KmsError>> + Send;

    /// Unwraps. Naming the key makes KMS refuse a wrapped key that belongs to another one.
    fn decrypt(
        &self,
        key: &KmsKeyArn,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
    ) -> impl Future<Output = Result<Decrypted, KmsError>> + Send;

    fn create_grant(&self, request: &GrantRequest) -> impl Future<Output = Result<Grant, KmsError>> + Send;

    /// Whether [`Kms::create_grant`] would be allowed (`DryRun`). Leaves no grant behind, also where the server does
    /// not know of that.
    fn may_create_grant(&self, request: &GrantRequest) -> impl Future<Output = Result<(), KmsError>> + Send;

    /// For the grantee, who may if `RetireGrant` is among the operations; the owner of the key revokes.
    fn retire_grant(&self, key: &KmsKeyArn, grant: &Grant) -> impl Future<Output = Result<(), KmsError>> + Send;

    /// Wraps the same plaintext under another KMS key, inside KMS. The context stays the same.
    fn re_encrypt(
        &self,
        from: &KmsKeyArn,
        wrapped: &WrappedKey,
        context: &EncryptionContext,
        to: &KmsKeyId,
    ) -> impl Future<Output = Result<ReEncrypted, KmsError>> + Send;
}

/// What only a drill does to a KMS key. No volume holds one of these.
pub trait KmsAdmin: Send + Sync {
    fn enable_key(&self, key: &KmsKeyArn) -> impl Future<Output = Result<(), KmsError>> + Send;
    fn disable_key(&self, key: &KmsKeyArn) -> impl Future<Output = Result<(), KmsError>> + Send;
    /// `days`: 7 to 30.
    fn schedule_key_deletion(&self, key: &KmsKeyArn, days: u8) -> impl Future<Output = Result<(), KmsError>> + Send;
    /// Leaves the key disabled, as on AWS.
    fn cancel_key_deletion(&self, key: &KmsKeyArn) -> impl Future<Output = Result<(), KmsError>> + Send;
    /// The policy named `default`, as JSON text.
    fn key_policy(&self, key: &KmsKeyArn) -> impl Future<Output = Result<String, KmsError>> + Send;
    fn put_key_policy(&self, key: &KmsKeyArn, policy: &str) -> impl Future<Output = Result<(), KmsError>> + Send;
    fn delete_imported_key_material(&self, key: &KmsKeyArn) -> impl Future<Output = Result<(), KmsError>> + Send;
    fn revoke_grant(&self, key: &KmsKeyArn, grant_id: &str) -> impl Future<Output = Result<(), KmsError>> + Send;
    /// All of them, however many pages KMS makes of it.
    fn list_grants(&self, key: &KmsKeyArn) -> impl Future<Output = Result<Vec<ListedGrant>, KmsError>> + Send;
    /// A symmetric key that wraps data keys, under the default policy.
    fn create_key(
        &self,
        origin: KeyOrigin,
        description: &str,
    ) -> impl Future<Output = Result<KmsKeyArn, KmsError>> + Send;
    /// The keys of the account with exactly this description: for whoever made one and was not told its name. Asks once
    /// for each key that there is.
    fn keys_described(&self, description: &str) -> impl Future<Output = Result<Vec<KmsKeyArn>, KmsError>> + Send;
    /// Gives a key of [`KeyOrigin::External`] its material: two calls, the material wrapped for KMS in between.
    fn import_key_material(
        &self,
        key: &KmsKeyArn,
        material: &[u8; 32],
    ) -> impl Future<Output = Result<(), KmsError>> + Send;
}
