//! Listens, serves until told to stop, and answers what is in flight before it returns.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::time::{MissedTickBehavior, interval};

use crate::admin;
use crate::clock::Clock;
use crate::connections::serve_connections;
use crate::error::KmsError;
use crate::kms::{Kms, OpenError};
use crate::operations::apply_due;
use crate::settings::{DEFAULT_LISTEN, Settings};

/// Keys are also deleted and rotated while nobody calls, and last uses saved; a call never sees a key that should be gone.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(5);
const NO_ADMINISTRATION: &str = "`envol kms principal`, `simulate` and `fault` cannot reach this server";

#[derive(Clone, Debug, Default)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes a free one. `None`: where `init` said.
    pub listen: Option<SocketAddr>,
    /// Allow an address that other machines can reach. The protocol here is plain HTTP: whoever can read it, reads
    /// plaintext keys.
    pub allow_remote: bool,
}

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "{listen} can be reached by other machines, and plaintext keys would cross the network unencrypted; listen on \
         127.0.0.1, or pass --allow-remote"
    )]
    RemoteListen { listen: SocketAddr },
    #[error("cannot listen on {listen}; is another server using the port?")]
    Listen { listen: SocketAddr, source: io::Error },
}

/// Serves the KMS in `dir` until `shutdown` completes. `on_listening` gets the address once connections are accepted.
///
/// # Errors
/// Before it listens: [`ServeError::Open`], [`ServeError::RemoteListen`], [`ServeError::Listen`].
pub async fn serve(
    dir: &Path,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
    on_listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let settings = Settings::read(dir).map_err(|source| OpenError::Io {
        action: "read the settings in",
        path: dir.to_owned(),
        source,
    })?;
    let listen = options.listen.or(settings.map(|settings| settings.listen)).unwrap_or(DEFAULT_LISTEN);
    if !listen.ip().is_loopback() && !options.allow_remote {
        return Err(ServeError::RemoteListen { listen });
    }
    let kms = Arc::new(Kms::open(dir, Clock::system())?);
    let bind_error = |source| ServeError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    // Before anybody is told that it serves: they may ask at once.
    let administration = admin::bind(&kms.dir).inspect_err(|error| tracing::error!("{NO_ADMINISTRATION}: {error}"));
    let administration = administration.ok().map(|socket| tokio::spawn(administer(Arc::clone(&kms), socket)));
    on_listening(address);

    let housekeeping = tokio::spawn(keep_house(Arc::clone(&kms)));
    serve_connections(&listener, &kms, shutdown).await;
    housekeeping.abort();
    if let Some(administration) = administration {
        administration.abort();
    }
    if let Err(error) = kms.save_usages() {
        tracing::warn!("the last uses of keys are not saved: {error}");
    }
    Ok(())
}

async fn administer(kms: Arc<Kms>, socket: UnixListener) {
    if let Err(error) = admin::answer(kms, socket).await {
        tracing::error!("{NO_ADMINISTRATION}: {error}");
    }
}

async fn keep_house(kms: Arc<Kms>) {
    let mut ticks = interval(HOUSEKEEPING_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let kms = Arc::clone(&kms);
        match tokio::task::spawn_blocking(move || housekeep(&kms)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error = ?error, "cannot do what is due"),
            Err(_) => return,
        }
    }
}

fn housekeep(kms: &Kms) -> Result<(), KmsError> {
    apply_due(kms)?;
    kms.save_usages()
}
