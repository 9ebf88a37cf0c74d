//! What only a drill does to a KMS key, as AWS calls.

use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::types::{KeySpec, OriginType};

use super::AwsKms;
use super::calls::Answered;
use crate::answer::KmsError;
use crate::grant::ListedGrant;
use crate::traits::KmsAdmin;
use crate::types::{KeyOrigin, KmsKeyArn};

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

    async fn list_grants(&self, key: &KmsKeyArn) -> Result<Vec<ListedGrant>, KmsError> {
        let mut grants = Vec::new();
        let mut marker = None;
        loop {
            let answer = self.client.list_grants().key_id(key.as_str()).set_marker(marker.clone()).send().await;
            let answer = answer.map_err(|error| self.parties.failure("ListGrants", &error))?;
            let answered = Answered { kms: self, operation: "ListGrants", request_id: answer.request_id() };
            grants.extend(answer.grants().iter().map(|grant| ListedGrant {
                id: grant.grant_id().unwrap_or_default().to_owned(),
                name: grant.name().filter(|name| !name.is_empty()).map(str::to_owned),
                grantee_principal: grant.grantee_principal().map(str::to_owned),
                operations: grant.operations().iter().map(|operation| operation.as_str().to_owned()).collect(),
            }));
            marker = answered.next_page(marker.as_deref(), answer.next_marker().filter(|_| answer.truncated()))?;
            if marker.is_none() {
                return Ok(grants);
            }
        }
    }

    async fn create_key(&self, origin: KeyOrigin, description: &str) -> Result<KmsKeyArn, KmsError> {
        const OPERATION: &str = "CreateKey";
        let origin = match origin {
            KeyOrigin::Kms => OriginType::AwsKms,
            KeyOrigin::External => OriginType::External,
        };
        let request = self.client.create_key().key_spec(KeySpec::SymmetricDefault).origin(origin);
        let answer = request.description(description).send().await;
        let answer = answer.map_err(|error| self.parties.failure(OPERATION, &error))?;
        let answered = Answered { kms: self, operation: OPERATION, request_id: answer.request_id() };
        answered.arn(answer.key_metadata().and_then(|metadata| metadata.arn()))
    }

    async fn keys_described(&self, description: &str) -> Result<Vec<KmsKeyArn>, KmsError> {
        let mut found = Vec::new();
        let mut marker = None;
        loop {
            let answer = self.client.list_keys().set_marker(marker.clone()).send().await;
            let answer = answer.map_err(|error| self.parties.failure("ListKeys", &error))?;
            let answered = Answered { kms: self, operation: "ListKeys", request_id: answer.request_id() };
            for arn in answer.keys().iter().filter_map(|key| key.key_arn()) {
                let described = self.client.describe_key().key_id(arn).send().await;
                // A key of somebody else's that may not be described is not the one.
                let Ok(described) = described else { continue };
                if described.key_metadata().and_then(|metadata| metadata.description()) == Some(description) {
                    found.extend(arn.parse::<KmsKeyArn>());
                }
            }
            marker = answered.next_page(marker.as_deref(), answer.next_marker().filter(|_| answer.truncated()))?;
            if marker.is_none() {
                return Ok(found);
            }
        }
    }

    async fn import_key_material(&self, key: &KmsKeyArn, material: &[u8; 32]) -> Result<(), KmsError> {
        self.import(key, material).await
    }
}
