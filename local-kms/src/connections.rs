//! Connections: accepted until a stop is asked for, and none able to take the others' place by being slow.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::kms::Kms;
use crate::protocol;

/// How long connections may take to end after a stop was asked for; requests are answered in far less.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// How long a client may take to send the head of a request, or be idle between two: SDKs keep connections, and open
/// another where one was closed.
const HEAD_DEADLINE: Duration = Duration::from_secs(20);
/// With what each may send at once, some hundred MiB at the very most; further ones are closed unheard.
const MAX_CONNECTIONS: usize = 8192;
/// Before the next attempt when no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` completes, then answers what is in flight.
pub(crate) async fn serve_connections(
    listener: &TcpListener,
    kms: &Arc<Kms>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    raise_descriptor_limit();
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        match (accepted, Arc::clone(&slots).try_acquire_owned()) {
            (Ok((stream, peer)), Ok(slot)) => serve(stream, peer, Arc::clone(kms), slot, &connections),
            (Ok((_, peer)), Err(_)) => tracing::warn!(%peer, "connection refused: there are {MAX_CONNECTIONS}"),
            (Err(error), _) => wait_after(&error).await,
        }
    }
    if timeout(SHUTDOWN_GRACE, connections.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end within {} s and were dropped", SHUTDOWN_GRACE.as_secs());
    }
}

fn serve(stream: TcpStream, peer: SocketAddr, kms: Arc<Kms>, slot: OwnedSemaphorePermit, all: &GracefulShutdown) {
    // An answer is one write; waiting for more would only delay it.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let kms = Arc::clone(&kms);
        async move { Ok::<_, Infallible>(protocol::handle(kms, peer, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
    let connection = all.watch(http.serve_connection(TokioIo::new(stream), service));
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, "connection ended: {error}");
        }
        drop(slot);
    });
}

/// A connection that was given up before it was accepted is no reason to wait; a lack of descriptors is.
async fn wait_after(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!("cannot accept a connection: {error}");
        sleep(ACCEPT_PAUSE).await;
    }
}

/// The usual 1024 descriptors would be the first thing to run out.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!("the limit of file descriptors stays as it is: {error}");
    }
}
