//! AWS JSON 1.1 over HTTP: `POST /`, the operation in `X-Amz-Target`, JSON both ways.

mod answer;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::faults::OutageAnswer;
use crate::kms::Kms;
use answer::TARGET_PREFIX;
pub use answer::{Answer, Received, answer};

/// The largest request KMS has is some 64 KiB; beyond this nothing is read.
const MAX_BODY_LEN: usize = 1024 * 1024;

/// All that is encrypted and decrypted fits; policies may not.
const SMALL_BODY_LEN: u64 = 16 * 1024;

/// At most so many larger bodies are in memory: thousands of connections could have one each.
static LARGE_BODIES: Semaphore = Semaphore::const_new(64);

/// How long a body may take, with the wait for room: a client that trickles does not hold a connection for ever.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Whatever the request is, there is an answer.
pub(crate) async fn handle(kms: Arc<Kms>, peer: SocketAddr, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let request_id = Uuid::new_v4().to_string();
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX)).unwrap_or_default().to_owned();
    let answered = match timeout(BODY_DEADLINE, read(body)).await {
        Err(_) => Answer::too_slow(),
        Ok(Err(_)) => Answer::too_large(),
        Ok(Ok((body, _room))) => {
            // STS, which has no target, is no part of what fails.
            let is_kms = !operation.is_empty();
            if let Some(latency) = kms.faults.latency(&operation).filter(|_| is_kms) {
                sleep(latency).await;
            }
            match kms.faults.outage(&operation).filter(|_| is_kms) {
                Some(OutageAnswer::Silence) => std::future::pending().await,
                Some(outage) => Answer::out(outage),
                None => {
                    let received = Received { head, body, peer, request_id: request_id.clone() };
                    // State and audit log are files; they block.
                    let answered = tokio::task::spawn_blocking(move || answer(&kms, &received)).await;
                    answered.unwrap_or_else(|_| Answer::failed())
                }
            }
        }
    };
    let mut response = Response::new(Full::new(answered.body));
    *response.status_mut() = answered.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answered.content_type));
    if let Ok(request_id) = HeaderValue::from_str(&request_id) {
        headers.insert("x-amzn-requestid", request_id);
    }
    response
}

/// The body, and the room that it takes until it is dropped, if it is large or may become so.
async fn read(body: Incoming) -> Result<(Bytes, Option<SemaphorePermit<'static>>), Box<dyn Error + Send + Sync>> {
    let may_be_large = body.size_hint().upper().is_none_or(|len| len > SMALL_BODY_LEN);
    let room = if may_be_large { Some(LARGE_BODIES.acquire().await?) } else { None };
    Ok((Limited::new(body, MAX_BODY_LEN).collect().await?.to_bytes(), room))
}
