//! Unwrapping the volume key in a process of its own, so that no buffer of the SDK, TLS or base64 in this one ever held
//! it: the helper asks KMS, writes the key into the locked area, which both have mapped, and exits.
//!
//! The helper is this same binary under another name. Its standard input is a socket with the request, and beside it the
//! descriptor of the area; the outcome comes back on its standard output, which is the same socket.

mod helper;
pub mod wire;

#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kms_client::{EncryptionContext, GrantToken, KmsError, KmsKeyArn, WrappedKey};
use serde::{Deserialize, Serialize};

use super::{LockedArea, SecretError, VolumeKey};
pub use helper::{is_unwrap_helper, run_unwrap_helper};
use wire::{Outcome, Question};

/// The name under which the helper is started, in place of `envol`.
const HELPER_NAME: &str = "envol-unwrap";

/// The helper gives up by itself after at most 15 s of login and 15 s of `Decrypt`; past this it hangs.
const DEADLINE: Duration = Duration::from_secs(35);

/// An outcome is one short line; more than this is not one.
const OUTCOME_MAX_BYTES: usize = 64 * 1024;

/// What to unwrap, and as whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UnwrapRequest {
    pub kms_key: KmsKeyArn,
    pub wrapped: WrappedKey,
    pub context: EncryptionContext,
    /// The AWS profile; `None` means what the AWS variables say.
    pub profile: Option<String>,
    /// Of the grant that allows it.
    pub grant_token: Option<GrantToken>,
}

/// Why there is no volume key.
#[derive(Debug, thiserror::Error)]
pub enum UnwrapError {
    /// KMS said no, or nothing: the answer tells which.
    #[error(transparent)]
    Kms(KmsError),
    /// The header names another KMS key than the one its volume key was wrapped under.
    #[error("KMS unwrapped the volume key with {answered}, but the header names {asked}")]
    OtherKmsKey { asked: KmsKeyArn, answered: KmsKeyArn },
    /// The header holds some other wrapped thing.
    #[error("what KMS unwrapped has {len_bytes} bytes; a volume key has 64")]
    NotAVolumeKey { len_bytes: usize },
    /// KMS never had its say.
    #[error("the process that unwraps the volume key {0}")]
    Helper(#[from] HelperError),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// What became of the helper process.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    #[error("could not be started")]
    Start(#[source] io::Error),
    #[error("could not be spoken to")]
    Talk(#[source] io::Error),
    #[error("ended before it answered ({0})")]
    Ended(ExitStatus),
    #[error("did not answer within {} s and was killed", .0.as_secs())]
    Overdue(Duration),
    #[error("answered something unintelligible")]
    Unintelligible(#[source] serde_json::Error),
    #[error("failed: {0}")]
    Failed(String),
}

/// Has the helper unwrap a volume key into `area`. Blocks, up to 35 s.
///
/// # Errors
/// See [`UnwrapError`]; nothing is left in the area that could be used.
pub fn unwrap_volume_key(area: &Arc<LockedArea>, request: &UnwrapRequest) -> Result<VolumeKey, UnwrapError> {
    // Not the path of the binary, which an upgrade may have replaced since.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(HELPER_NAME);
    unwrap_by(command, area, request, DEADLINE)
}

fn unwrap_by(
    command: Command,
    area: &Arc<LockedArea>,
    request: &UnwrapRequest,
    patience: Duration,
) -> Result<VolumeKey, UnwrapError> {
    let key = area.place([0; 64])?;
    let question = Question { offset_bytes: key.offset_bytes(), request: request.clone() };
    let (socket, mut helper) = start(command)?;
    let line = socket
        .set_write_timeout(Some(patience))
        .and_then(|()| wire::send(&socket, &question, area.descriptor()))
        .and_then(|()| read_line(&socket, Instant::now() + patience))
        .map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HelperError::Overdue(patience),
            // Gone without a word, before it had read the request or after.
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => helper.ended(),
            _ => HelperError::Talk(error),
        })?;
    match serde_json::from_slice(&line).map_err(HelperError::Unintelligible)? {
        Outcome::Unwrapped => Ok(VolumeKey::new(key)),
        Outcome::Kms(error) => Err(UnwrapError::Kms(error.into())),
        Outcome::OtherKmsKey(answered) => Err(UnwrapError::OtherKmsKey { asked: request.kms_key.clone(), answered }),
        Outcome::NotAVolumeKey { len_bytes } => Err(UnwrapError::NotAVolumeKey { len_bytes }),
        Outcome::Failed(message) => Err(HelperError::Failed(message).into()),
    }
}

/// The helper, and our end of the socket that is its standard input and output.
fn start(mut command: Command) -> Result<(UnixStream, Helper), HelperError> {
    let (ours, theirs) = UnixStream::pair().map_err(HelperError::Start)?;
    let theirs = OwnedFd::from(theirs);
    command.stdin(theirs.try_clone().map_err(HelperError::Start)?).stdout(theirs);
    let child = command.spawn().map_err(HelperError::Start)?;
    // `command` is dropped here, and with it our copies of their end: only then does its death end the stream.
    Ok((ours, Helper(child)))
}

/// One line, without its end.
fn read_line(mut socket: &UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let count = match socket.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        line.extend_from_slice(&buffer[..count]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        if count == 0 || line.len() > OUTCOME_MAX_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The child process; reaped in any case. Once it has answered it has nothing left to do.
struct Helper(Child);

impl Helper {
    /// After the end of its output: it is on its way out by itself, or else has nothing more to say.
    fn ended(&mut self) -> HelperError {
        let _ = self.0.kill();
        match self.0.wait() {
            Ok(status) => HelperError::Ended(status),
            Err(error) => HelperError::Talk(error),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both only fail when it is reaped already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
