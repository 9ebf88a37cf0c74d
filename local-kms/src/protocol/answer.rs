//! From a whole request to a whole answer: who calls, what they want, and the shape of a refusal.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use serde_json::json;

use crate::audit::Origin;
use crate::error::KmsError;
use crate::kms::Kms;
use crate::operations;
use crate::sigv4::{self, Scope, SignatureError, SignedRequest};

const TARGET_PREFIX: &str = "TrentService.";
const SERVICE: &str = "kms";

pub(super) struct Received {
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) peer: SocketAddr,
    pub(super) request_id: String,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

pub(super) fn answer(kms: &Kms, received: &Received) -> Answer {
    let uri = &received.head.uri;
    if received.head.method != Method::POST || uri.path() != "/" || uri.query().is_some() {
        return Answer::refused(&KmsError::UnknownOperation);
    }
    let headers = &received.head.headers;
    let request = SignedRequest { headers, body: &received.body };
    let scope = Scope { region: &kms.account.region, service: SERVICE };
    let secret = |id: &str| kms.user(id).map(|user| user.secret_access_key.as_str());
    let verified = sigv4::verify(&request, &scope, kms.clock.now(), secret);
    let user = match verified.and_then(|id| kms.user(id).ok_or(SignatureError::UnrecognizedClient)) {
        Ok(user) => user,
        Err(error) => {
            tracing::warn!(peer = %received.peer, code = error.code(), "request refused: {error}");
            return Answer::error(StatusCode::BAD_REQUEST, error.code(), &error.to_string());
        }
    };

    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let origin = Origin {
        user,
        source_ip: received.peer.ip().to_canonical().to_string(),
        user_agent: text(header::USER_AGENT.as_str()).map(str::to_owned),
        request_id: received.request_id.clone(),
    };
    let operation = text("x-amz-target").and_then(|target| target.strip_prefix(TARGET_PREFIX)).unwrap_or_default();
    match operations::call(kms, &origin, operation, &received.body) {
        Ok(body) => Answer { status: StatusCode::OK, body: Bytes::from_owner(body) },
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
        Self { status, body: Bytes::from(body.to_string()) }
    }
}
