//! What only a drill does to a KMS key, as AWS calls.

use aws_sdk_kms::operation::RequestId;

use super::AwsKms;
use crate::answer::KmsError;
use crate::traits::KmsAdmin;
use crate::types::KmsKeyArn;

/// The only name a key policy can have.
const POLICY_NAME: &str = "default";

impl KmsAdmin for AwsKms {
    async fn enable_key(&self, key: &KmsKeyArn) -> Result<(), KmsError> {
        let answer = self.client.enable_key().key_id(key.as_str()).send().await;
        answer.map_err(|error| self.parties.failure("EnableKey", &error))?;
        Ok(())
    }

    async fn disable_key(&self, key: &KmsKeyArn) -> Result<(), KmsError> {
        let answer = self.client.disable_key().key_id(key.as_str()).send().await;
        answer.map_err(|error| self.parties.failure("DisableKey", &error))?;
        Ok(())
    }

    async fn schedule_key_deletion(&self, key: &KmsKeyArn, days: u8) -> Result<(), KmsError> {
        let answer = self
            .client
            .schedule_key_deletion()
            .key_id(key.as_str())
            .pending_window_in_days(i32::from(days))
            .send()
            .await;
        answer.map_err(|error| self.parties.failure("ScheduleKeyDeletion", &error))?;
        Ok(())
    }

    async fn cancel_key_deletion(&self, key: &KmsKeyArn) -> Result<(), KmsError> {
        let answer = self.client.cancel_key_deletion().key_id(key.as_str()).send().await;
        answer.map_err(|error| self.parties.failure("CancelKeyDeletion", &error))?;
        Ok(())
    }

    async fn key_policy(&self, key: &KmsKeyArn) -> Result<String, KmsError> {
        const OPERATION: &str = "GetKeyPolicy";
        let answer = self.client.get_key_policy().key_id(key.as_str()).policy_name(POLICY_NAME).send().await;
        let answer = answer.map_err(|error| self.parties.failure(OPERATION, &error))?;
        let policy = answer.policy().map(str::to_owned);
        policy.ok_or_else(|| self.parties.incomplete(OPERATION, "Policy", answer.request_id()))
    }

    async fn put_key_policy(&self, key: &KmsKeyArn, policy: &str) -> Result<(), KmsError> {
        let answer =
            self.client.put_key_policy().key_id(key.as_str()).policy_name(POLICY_NAME).policy(policy).send().await;
        answer.map_err(|error| self.parties.failure("PutKeyPolicy", &error))?;
        Ok(())
    }

    async fn delete_imported_key_material(&self, key: &KmsKeyArn) -> Result<(), KmsError> {
        let answer = self.client.delete_imported_key_material().key_id(key.as_str()).send().await;
        answer.map_err(|error| self.parties.failure("DeleteImportedKeyMaterial", &error))?;
        Ok(())
    }

    async fn revoke_grant(&self, key: &KmsKeyArn, grant_id: &str) -> Result<(), KmsError> {
        let answer = self.client.revoke_grant().key_id(key.as_str()).grant_id(grant_id).send().await;
        answer.map_err(|error| self.parties.failure("RevokeGrant", &error))?;
        Ok(())
    }
}
