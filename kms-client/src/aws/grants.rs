//! Grants: made, rehearsed, given back, and shown with a call.

use std::error::Error;
use std::future::Future;

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::types::{GrantConstraints, GrantOperation};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::AwsKms;
use super::calls::{Answered, pairs};
use crate::answer::KmsError;
use crate::grant::{Grant, GrantRequest, GrantToken};
use crate::types::KmsKeyArn;

impl AwsKms {
    pub(super) async fn grant(&self, request: &GrantRequest, dry_run: bool) -> Result<Grant, KmsError> {
        const OPERATION: &str = "CreateGrant";
        let constraints =
            GrantConstraints::builder().set_encryption_context_subset(pairs(&request.context_subset)).build();
        let constraints = Some(constraints).filter(|_| !request.context_subset.0.is_empty());
        let operations = request.operations.iter().map(|name| GrantOperation::from(name.as_str()));
        let answer = self
            .client
            .create_grant()
            .key_id(request.key.as_str())
            .grantee_principal(request.grantee_principal.as_str())
            .set_retiring_principal(request.retiring_principal.clone().map(String::from))
            .set_operations(Some(operations.collect()))
            .set_constraints(constraints)
            .set_name(request.name.clone())
            .set_dry_run(dry_run.then_some(true))
            .send()
            .await;
        let answer = answer.map_err(|error| self.parties.failure(OPERATION, &error))?;
        let answered = Answered { kms: self, operation: OPERATION, request_id: answer.request_id() };
        Ok(Grant {
            id: answered.has("GrantId", answer.grant_id())?.to_owned(),
            token: GrantToken::new(answered.has("GrantToken", answer.grant_token())?),
        })
    }

    pub(super) async fn rehearse_grant(&self, request: &GrantRequest) -> Result<(), KmsError> {
        match self.grant(request, true).await {
            Err(error) if error.code.as_deref() == Some("DryRunOperationException") => Ok(()),
            Err(error) => Err(error),
            // A server that does not know of dry runs has made it. If it stays all the same, it is harmless: the real
            // one allows the same.
            Ok(grant) => {
                let _ = self.retire(&request.key, &grant).await;
                Ok(())
            }
        }
    }

    /// By its id; by its token where it is so new that the id is not known yet.
    pub(super) async fn retire(&self, key: &KmsKeyArn, grant: &Grant) -> Result<(), KmsError> {
        const OPERATION: &str = "RetireGrant";
        let by_id = self.client.retire_grant().key_id(key.as_str()).grant_id(&grant.id).send().await;
        match by_id.map_err(|error| self.parties.failure(OPERATION, &error)) {
            Ok(_) => Ok(()),
            Err(error) if error.is_no_such_grant() => {
                let by_token = self.client.retire_grant().grant_token(grant.token.as_str()).send().await;
                by_token.map(drop).map_err(|error| self.parties.failure(OPERATION, &error))
            }
            Err(error) => Err(error),
        }
    }

    /// Calls with this client's grant token. A token that KMS does not take (any more) decides nothing: what may be done
    /// without it is asked again, so that a grant that is gone is a denial, and not an answer nobody understands.
    pub(super) async fn with_token<T, E, F>(
        &self,
        operation: &'static str,
        call: impl Fn(Option<Vec<String>>) -> F,
    ) -> Result<T, KmsError>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + 'static,
    {
        let tokens = self.grant_token.as_ref().map(|token| vec![token.as_str().to_owned()]);
        let shown = tokens.is_some();
        let result = call(tokens).await.map_err(|error| self.parties.failure(operation, &error));
        match result {
            Err(error) if shown && error.refuses_token() => {
                call(None).await.map_err(|error| self.parties.failure(operation, &error))
            }
            result => result,
        }
    }
}
