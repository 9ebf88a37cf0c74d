//! `admin.sock`: one request, one answer, each a line of JSON. Whoever can open it owns the directory.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream as AsyncUnixStream};
use tokio::time::timeout;

use super::error::ErrorText;
use super::{AdminError, Request, handle};
use crate::durable_file;
use crate::kms::Kms;

const SOCKET: &str = "admin.sock";
/// Two policies of the largest size, with room.
const MAX_REQUEST_LEN: u64 = 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(10);

type Answer = Result<Value, ErrorText>;

/// The socket by a path that is short whatever that of `dir` is: addresses of sockets end after 107 bytes.
fn short_path(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()))
}

/// From now on requests wait here. A socket that a killed server left is replaced: the state is locked, so it is ours.
pub(crate) fn bind(dir: &Path) -> io::Result<UnixListener> {
    let dir = File::open(dir)?;
    let path = short_path(&dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    // The directory is closed to others already.
    fs::set_permissions(&path, Permissions::from_mode(durable_file::PRIVATE))?;
    Ok(listener)
}

/// Answers until it is aborted.
pub(crate) async fn answer(kms: Arc<Kms>, listener: UnixListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let kms = Arc::clone(&kms);
        tokio::spawn(async move {
            match timeout(DEADLINE, serve(kms, stream)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("a request of the administrator broke off: {error}"),
                Err(_) => tracing::warn!("a request of the administrator did not arrive in time"),
            }
        });
    }
}

async fn serve(kms: Arc<Kms>, mut stream: AsyncUnixStream) -> io::Result<()> {
    let mut received = Vec::new();
    (&mut stream).take(MAX_REQUEST_LEN).read_to_end(&mut received).await?;
    let request: Request = serde_json::from_slice(&received)?;
    let answer = tokio::task::spawn_blocking(move || handle(&kms, &request).map_err(ErrorText::from)).await;
    let answer: Answer = answer.unwrap_or_else(|_| Err(ErrorText::Failed("it was interrupted".to_owned())));
    stream.write_all(&serde_json::to_vec(&answer)?).await
}

/// `None`: no server runs.
pub(super) fn ask(dir: &Path, request: &Request) -> io::Result<Option<Result<Value, AdminError>>> {
    let dir = match File::open(dir) {
        Ok(dir) => dir,
        // The state, which is not there either, says it better.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut stream = match UnixStream::connect(short_path(&dir)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(&serde_json::to_vec(request)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    let answer: Answer = serde_json::from_slice(&received)?;
    Ok(Some(answer.map_err(AdminError::from)))
}
