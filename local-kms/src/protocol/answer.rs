//! From a whole request to a whole answer: who calls, what they want, and the shape of a refusal.

use std::net::SocketAddr;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode, header};
use serde_json::json;
use zeroize::Zeroizing;

use crate::audit::Origin;
use crate::error::KmsError;
use crate::faults::OutageAnswer;
use crate::kms::Kms;
use crate::operations;
use crate::sigv4::{self, Scope, SignedRequest};
use crate::sts;

pub(super) const TARGET_PREFIX: &str = "TrentService.";
const KMS: &str = "kms";
const STS: &str = "sts";

pub struct Received {
    pub head: Parts,
    pub body: Bytes,
    pub peer: SocketAddr,
    pub request_id: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    pub content_type: &'static str,
}

const AWS_JSON: &str = "application/x-amz-json-1.1";

pub fn answer(kms: &Kms, received: &Received) -> Answer {
    let uri = &received.head.uri;
    if received.head.method != Method::POST || uri.path() != "/" || uri.query().is_some() {
        return Answer::refused(&KmsError::UnknownOperation);
    }
    let headers = &received.head.headers;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let target = text("x-amz-target");
    // STS has no targets, and comes by the same address.
    let service = if target.is_none() && sts::is_sts(&received.body) { STS } else { KMS };
    let request = SignedRequest { headers, body: &received.body };
    let scope = Scope { region: &kms.account.region, service };
    let received_at = kms.clock.unmoved();
    let caller = match sigv4::verify(&request, &scope, received_at, |id, token| kms.identify(id, token)) {
        Ok(caller) => caller,
        Err(error) => {
            tracing::warn!(peer = %received.peer, code = error.code(), "request refused: {error}");
            return match service {
                STS => Answer::xml(sts::refusal(error.code(), &error.to_string(), &received.request_id)),
                _ => Answer::error(StatusCode::BAD_REQUEST, error.code(), &error.to_string()),
            };
        }
    };
    let origin = Origin {
        caller: &caller,
        source_ip: received.peer.ip().to_canonical().to_string(),
        user_agent: text(header::USER_AGENT.as_str()).map(str::to_owned),
        request_id: received.request_id.clone(),
        received: received_at,
        region: &kms.account.region,
    };
    if service == STS {
        return Answer::xml(sts::answer(kms, &origin, &received.body));
    }
    let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX)).unwrap_or_default();
    match operations::call(kms, &origin, operation, &received.body) {
        Ok(body) => Answer { status: StatusCode::OK, body: Bytes::from_owner(body), content_type: AWS_JSON },
        Err(error) => {
            if let KmsError::Internal(cause) = &error {
                tracing::error!(operation, request_id = received.request_id, "cannot answer: {cause}");
            }
            Answer::refused(&error)
        }
    }
}

impl Answer {
    pub(super) fn too_large() -> Self {
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException", "The request is too large.")
    }

    pub(super) fn too_slow() -> Self {
        Self::error(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", "The request did not arrive in time.")
    }

    /// The KMS is out, by request.
    pub(super) fn out(answer: OutageAnswer) -> Self {
        match answer {
            OutageAnswer::InternalError => Self::refused(&KmsError::Internal("an outage was asked for".into())),
            OutageAnswer::Unavailable | OutageAnswer::Silence => Self {
                status: StatusCode::SERVICE_UNAVAILABLE,
                body: Bytes::from_static(b"Service Unavailable"),
                content_type: "text/plain",
            },
        }
    }

    fn xml((status, body): (StatusCode, Zeroizing<String>)) -> Self {
        Self { status, body: Bytes::from_owner(Zeroizing::new(body.as_bytes().to_vec())), content_type: "text/xml" }
    }

    /// An operation that did not return.
    pub(super) fn failed() -> Self {
        Self::refused(&KmsError::Internal("the operation was interrupted".into()))
    }

    fn refused(error: &KmsError) -> Self {
        let status = match error {
            KmsError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::error(status, error.code(), &error.to_string())
    }

    fn error(status: StatusCode, code: &str, message: &str) -> Self {
        let body =
            if message.is_empty() { json!({ "__type": code }) } else { json!({ "__type": code, "message": message }) };
        Self { status, body: Bytes::from(body.to_string()), content_type: AWS_JSON }
    }
}
