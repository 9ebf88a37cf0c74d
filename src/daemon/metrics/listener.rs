//! `GET /metrics` over HTTP, for who asked for it with `--metrics-listen`.
//!
//! The least of HTTP that a scraper speaks: one request a connection. The guardian lives on the same thread, so whatever may
//! wait has a deadline, and what reads the disk is done elsewhere.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Several scrapers, and a person beside them. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 8;

/// For all of one connection. Prometheus itself gives up after 10 s by default.
const DEADLINE: Duration = Duration::from_secs(5);

const MAX_HEAD_BYTES: usize = 8 << 10;

const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Before the volume is unwrapped: an address that cannot be had is found out early.
pub(in crate::daemon) fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Does not return. `metrics` may read the disk.
pub(in crate::daemon) async fn serve(listener: TcpListener, metrics: Arc<dyn Fn() -> String + Send + Sync>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    if let Ok(Err(error)) = timeout(DEADLINE, answer(stream, metrics, permit)).await {
                        tracing::debug!("metrics: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::debug!("metrics: {error}");
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    let head = head(&mut stream).await?;
    let head_only = match request(&head) {
        Asked::Metrics { head_only } => head_only,
        Asked::Elsewhere => return respond(&mut stream, "404 Not Found", "envol: see /metrics\n", false).await,
        Asked::OtherMethod => {
            return respond(&mut stream, "405 Method Not Allowed", "envol: GET and HEAD only\n", false).await;
        }
        Asked::Nonsense => return respond(&mut stream, "400 Bad Request", "envol: not a request\n", false).await,
    };
    // It keeps its place until it is done, also when nobody waits for it any more: a disk that hangs holds up so many threads
    // and no more.
    let asked = tokio::task::spawn_blocking(move || (metrics(), permit)).await;
    let (text, _permit) = asked.map_err(io::Error::other)?;
    respond(&mut stream, "200 OK", &text, head_only).await
}

pub enum Asked {
    Metrics { head_only: bool },
    Elsewhere,
    OtherMethod,
    Nonsense,
}

/// All up to the empty line, or as much of it as there is room for.
async fn head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while head.len() < MAX_HEAD_BYTES && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

pub fn request(head: &[u8]) -> Asked {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return Asked::Nonsense };
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else { return Asked::Nonsense };
    let is_whole = head.windows(4).any(|end| end == b"\r\n\r\n");
    let path = target.split('?').next().unwrap_or_default();
    match method {
        _ if !is_whole || !version.starts_with("HTTP/1.") => Asked::Nonsense,
        "GET" | "HEAD" if path == "/metrics" => Asked::Metrics { head_only: method == "HEAD" },
        "GET" | "HEAD" => Asked::Elsewhere,
        _ => Asked::OtherMethod,
    }
}

async fn respond(stream: &mut TcpStream, status: &str, body: &str, head_only: bool) -> io::Result<()> {
    let len = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    if !head_only {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn started() -> SocketAddr {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        tokio::spawn(serve(listener, Arc::new(|| "envol_daemon_up 1\n".to_owned())));
        address
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_served_and_nothing_else() {
        let address = started().await;
        for (request, status, body) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200", "envol_daemon_up 1\n"),
            ("GET /metrics?name=x HTTP/1.0\r\n\r\n", "200", "envol_daemon_up 1\n"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "200", ""),
            ("GET / HTTP/1.1\r\n\r\n", "404", "envol: see /metrics\n"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405", "envol: GET and HEAD only\n"),
            ("hello\r\n\r\n", "400", "envol: not a request\n"),
        ] {
            let answer = ask(address, request).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
            assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, body, "{request:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_let_go_and_makes_room() {
        let address = started().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let began = Instant::now();
        assert!(ask(address, "GET /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200 "));
        assert!(began.elapsed() < DEADLINE, "the clock of the test is not ahead");
    }
}
