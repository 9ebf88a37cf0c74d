//! AWS JSON 1.1 over HTTP: `POST /`, the operation in `X-Amz-Target`, JSON both ways.

mod answer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, Response, header};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::faults::OutageAnswer;
use crate::kms::Kms;
use answer::{Answer, Received, TARGET_PREFIX};

/// The largest request KMS has is some 64 KiB; beyond this nothing is read.
const MAX_BODY_LEN: usize = 1024 * 1024;

/// How long a body may take: a client that trickles does not hold a connection for ever.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

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
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX)).unwrap_or_default().to_owned();
    let answer = match timeout(BODY_DEADLINE, to_bytes(body, MAX_BODY_LEN)).await {
        Err(_) => Answer::too_slow(),
        Ok(Err(_)) => Answer::too_large(),
        Ok(Ok(body)) => {
            if let Some(latency) = kms.faults.latency(&operation) {
                sleep(latency).await;
            }
            match kms.faults.outage(&operation) {
                Some(OutageAnswer::Silence) => std::future::pending().await,
                Some(outage) => Answer::out(outage),
                None => {
                    let received = Received { head, body, peer, request_id: request_id.clone() };
                    // State and audit log are files; they block.
                    let answered = tokio::task::spawn_blocking(move || answer::answer(&kms, &received)).await;
                    answered.unwrap_or_else(|_| Answer::failed())
                }
            }
        }
    };
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-amzn-requestid", request_id);
    }
    response
}
