//! From the SDK's failures to ours: the AWS code decides, and what went wrong on the way is said in plain words.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::answer::{Answer, KmsError};

/// Who asked whom: what an error has to name.
#[derive(Clone, Debug)]
pub(super) struct Parties {
    /// Where requests go, e.g. `https://kms.eu-west-1.amazonaws.com`.
    pub(super) endpoint: String,
    pub(super) profile: Option<String>,
}

impl Parties {
    pub(super) fn failure<E>(&self, operation: &'static str, error: &SdkError<E, HttpResponse>) -> KmsError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let failure = |answer, code: Option<&str>, message| KmsError {
            operation,
            answer,
            code: code.map(str::to_owned),
            message,
            request_id: error.request_id().map(str::to_owned),
        };
        let Some(response) = error.raw_response() else {
            let message = chain(error);
            return if finds::<CredentialsError>(error) {
                failure(Answer::Unauthenticated, None, self.as_profile(format!("no credentials: {message}")))
            } else {
                failure(Answer::Unreachable, None, format!("no answer from {}: {message}", self.endpoint))
            };
        };
        let service_error = error.as_service_error();
        if let Some(code) = service_error.and_then(|error| error.code()) {
            let message = service_error.and_then(|error| error.message()).unwrap_or_default().to_owned();
            let answer = Answer::of(code, response.status().as_u16());
            let message = if answer == Answer::Unauthenticated { self.as_profile(message) } else { message };
            return failure(answer, Some(code), message);
        }
        // What the body held is not quoted: nobody knows what it is, and from a 200 it may be a key.
        let message = format!(
            "{} answered HTTP {} with {}, which is no answer of KMS; is a proxy or another server in between?",
            self.endpoint,
            response.status().as_u16(),
            response.headers().get("content-type").unwrap_or("no content type"),
        );
        failure(Answer::Unreachable, None, message)
    }

    /// KMS said yes, but left out what the operation promises.
    pub(super) fn incomplete(&self, operation: &'static str, field: &str, request_id: Option<&str>) -> KmsError {
        KmsError {
            operation,
            answer: Answer::Unreachable,
            code: None,
            message: format!("the answer from {} has no valid {field}", self.endpoint),
            request_id: request_id.map(str::to_owned),
        }
    }

    fn as_profile(&self, message: String) -> String {
        match &self.profile {
            Some(name) => format!("{message} (as profile `{name}`)"),
            None => message,
        }
    }
}

/// An error and its causes in one line, each once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let words = error.to_string().replace('\n', " ");
        // The SDK's names for its layers tell a reader nothing, and some layers repeat the one below.
        let noise = matches!(words.as_str(), "dispatch failure" | "io error" | "timeout" | "other" | "service error");
        if !noise && !line.contains(&words) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&words);
        }
        next = error.source();
    }
    line
}

fn finds<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(<dyn Error>::is::<T>)
}
