//! A server that answers what a test wants, or does not.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

#[derive(Clone)]
pub(crate) enum Reply {
    /// Status, header lines and body; the length is added.
    Http(u16, &'static str, String),
    /// Closes the connection where the answer should begin.
    Close,
    /// Reads the request and says nothing.
    Stall,
    /// Promises a body and sends the half of it.
    StallInBody,
    /// Bytes that are not HTTP.
    Garbage,
    /// A body without an end, as fast as it is read.
    Endless,
}

/// Stops when dropped.
pub(crate) struct Canned {
    pub(crate) address: SocketAddr,
    reply: Arc<Mutex<Reply>>,
    /// Before `reply` has its turn.
    first: Arc<Mutex<VecDeque<Reply>>>,
    bodies: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Canned {
    pub(crate) async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let reply = Arc::new(Mutex::new(reply));
        let first = Arc::new(Mutex::new(VecDeque::new()));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn({
            let served = Served {
                reply: reply.clone(),
                first: first.clone(),
                bodies: bodies.clone(),
                requests: requests.clone(),
            };
            let connections = connections.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(stream, served.clone()));
                }
            }
        });
        Self { address, reply, first, bodies, connections, requests, accepting }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn will(&self, reply: Reply) {
        *self.reply.lock().expect("no test panics in here") = reply;
    }

    /// One reply for the next request, before those of [`Canned::will`].
    pub(crate) fn will_first(&self, reply: Reply) {
        self.first.lock().expect("no test panics in here").push_back(reply);
    }

    /// What the requests held since this was called last.
    pub(crate) fn bodies(&self) -> Vec<String> {
        std::mem::take(&mut self.bodies.lock().expect("no test panics in here"))
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Canned {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every connection shares.
#[derive(Clone)]
struct Served {
    reply: Arc<Mutex<Reply>>,
    first: Arc<Mutex<VecDeque<Reply>>>,
    bodies: Arc<Mutex<Vec<String>>>,
    requests: Arc<AtomicUsize>,
}

/// Answers requests on one connection until the client or a reply ends it; an error is the client hanging up.
async fn serve(stream: TcpStream, served: Served) {
    let mut stream = BufReader::new(stream);
    while let Some(body) = read_request(&mut stream).await {
        served.requests.fetch_add(1, Ordering::SeqCst);
        served.bodies.lock().expect("no test panics in here").push(body);
        let first = served.first.lock().expect("no test panics in here").pop_front();
        let reply = first.unwrap_or_else(|| served.reply.lock().expect("no test panics in here").clone());
        let head = |status, headers: &str, length: usize| {
            format!("HTTP/1.1 {status} Canned\r\n{headers}content-length: {length}\r\n\r\n")
        };
        let sent = match reply {
            Reply::Http(status, headers, body) => {
                let answer = head(status, headers, body.len()) + &body;
                stream.write_all(answer.as_bytes()).await
            }
            Reply::Close => return,
            Reply::Stall => std::future::pending().await,
            Reply::StallInBody => {
                let _ = stream.write_all((head(200, "", 64) + r#"{"KeyId":"#).as_bytes()).await;
                std::future::pending().await
            }
            Reply::Garbage => {
                let _ = stream.write_all(&[0x16, 3, 1, 0, 0xff, b'\r', b'\n', b'\r', b'\n']).await;
                return;
            }
            Reply::Endless => {
                let mut sent = stream.write_all(head(400, "", usize::MAX >> 1).as_bytes()).await;
                let filler = vec![b' '; 1 << 16];
                while sent.is_ok() {
                    sent = stream.write_all(&filler).await;
                }
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The body of one request, read to its end. `None`: the client hung up.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut body_len = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(length) = line.strip_prefix("content-length:") {
            body_len = length.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; body_len];
    stream.read_exact(&mut body).await.ok()?;
    Some(String::from_utf8_lossy(&body).into_owned())
}
