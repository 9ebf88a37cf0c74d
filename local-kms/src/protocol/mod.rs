//! AWS JSON 1.1 over HTTP: `POST /`, the operation in `X-Amz-Target`, JSON both ways.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Response, header};
use uuid::Uuid;

use crate::kms::Kms;
use answer::{Answer, Received};

/// The largest request KMS has is some 64 KiB; beyond this nothing is read.
const MAX_BODY_LEN: usize = 1024 * 1024;

pub(crate) fn service(kms: Arc<Kms>) -> IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
    Router::new().fallback(handle).with_state(kms).into_make_service_with_connect_info()
}

async fn handle(
    State(kms): State<Arc<Kms>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response<Body> {
    let request_id = Uuid::new_v4().to_string();
    let (head, body) = request.into_parts();
    let answer = match to_bytes(body, MAX_BODY_LEN).await {
        Err(_) => Answer::too_large(),
        Ok(body) => {
            let received = Received { head, body, peer, request_id: request_id.clone() };
            // State and audit log are files; they block.
            let answered = tokio::task::spawn_blocking(move || answer::answer(&kms, &received)).await;
            answered.unwrap_or_else(|_| Answer::failed())
        }
    };
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-amzn-requestid", request_id);
    }
    response
}
