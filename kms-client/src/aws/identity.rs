//! Who the credentials belong to.

use aws_sdk_kms::error::SdkError;
use aws_sdk_sts::operation::RequestId;

use super::AwsKms;
use super::failure::chain;
use crate::answer::{Answer, KmsError};

impl AwsKms {
    /// The ARN that AWS knows the caller by (`GetCallerIdentity`), at the STS of the same configuration. It needs no
    /// permission.
    ///
    /// # Errors
    /// [`Answer::Unreachable`] also where there is a KMS but no STS; whoever asks can do without.
    pub async fn caller_arn(&self) -> Result<String, KmsError> {
        let failed = |answer, message, request_id: Option<&str>| KmsError {
            operation: "GetCallerIdentity",
            answer,
            code: None,
            message,
            request_id: request_id.map(str::to_owned),
        };
        match self.sts.get_caller_identity().send().await {
            Ok(identity) => identity
                .arn()
                .map(str::to_owned)
                .ok_or_else(|| failed(Answer::Unreachable, "the answer has no Arn".to_owned(), identity.request_id())),
            Err(error) => {
                let answered = matches!(error, SdkError::ServiceError(_));
                let answer = if answered { Answer::Unauthenticated } else { Answer::Unreachable };
                Err(failed(answer, chain(&error), error.request_id()))
            }
        }
    }
}
