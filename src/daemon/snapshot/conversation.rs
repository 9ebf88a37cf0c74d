//! The answer to a command that asks for a snapshot: how far it is, and what came of it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use zeroize::{Zeroize, Zeroizing};

use super::order::SnapshotOrder;
use super::running::{Running, lock};
use crate::daemon::attached::Shared;
use crate::daemon::control::{MAX_LINE_BYTES, PROGRESS_INTERVAL, Reply, SnapshotProgress};
use crate::daemon::error::DaemonError;
use crate::daemon::serve::send;
use crate::host::give_way;
use crate::snapshot::{SnapshotHeader, TakingProgress};
use crate::volume::CHUNK_SIZE;

/// The answer to a command that asked for a snapshot: what came of it, after its progress. An error: nobody listens any more.
pub(in crate::daemon) async fn converse(
    shared: &Arc<Shared>,
    order: SnapshotOrder,
    reader: &mut BufReader<OwnedReadHalf>,
    writer: &mut OwnedWriteHalf,
) -> io::Result<Reply> {
    // Whoever repeats a command that was killed need not wait by themselves until its snapshot has let go.
    let letting_go = Arc::clone(shared);
    let waited = tokio::task::spawn_blocking(move || letting_go.snapshots.wait_for_cancelled()).await;
    waited.map_err(io::Error::other)?;
    let Some(running) = shared.snapshots.start() else {
        let message = format!("a snapshot of volume {} is being taken already", shared.subject.paths.id());
        return Ok(Reply::Busy { message });
    };
    *lock(&running.s3) = order.s3.clone();
    let (sender, mut outcome) = oneshot::channel();
    let (job, of_job) = (Arc::clone(shared), running.clone());
    let spawned = thread::Builder::new().name("snapshot".to_owned()).spawn(move || {
        // Before the workers, and the threads that store, are started.
        give_way();
        let taken = {
            // However it ends: a detach waits for that, and by then the volume is let go of.
            let _ended = of_job.end_on_drop();
            job.take_snapshot(&order, &of_job)
        };
        let _ = sender.send(taken);
    });
    if let Err(error) = spawned {
        drop(running.end_on_drop());
        return Err(error);
    }
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let mut line = Zeroizing::new(Vec::new());
    loop {
        tokio::select! {
            taken = &mut outcome => return Ok(taken.map_or_else(|_| shared.given_up(), |taken| shared.reply(taken, &running))),
            _ = ticks.tick() => {
                let progress = Reply::SnapshotProgress(progress(&running.progress));
                if let Err(error) = send(writer, &progress).await {
                    running.cancelled.store(true, Ordering::Release);
                    return Err(error);
                }
            }
            heard = hear(reader, &mut line) => match heard {
                Ok(true) => {
                    if let Ok(renewed) = serde_json::from_slice(&line) {
                        *lock(&running.s3) = Some(renewed);
                    }
                    line.zeroize();
                }
                // Ctrl-C, or a command that was killed, or none of ours.
                _ => {
                    running.cancelled.store(true, Ordering::Release);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            },
        }
    }
}

/// Whether the line is whole now: it is not when it ended without its last byte, or is longer than any of ours. Nothing is lost of
/// one that has come in part when this is dropped; the next call goes on with it.
async fn hear(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    let left = MAX_LINE_BYTES.saturating_sub(line.len() as u64);
    reader.take(left).read_until(b'\n', line).await?;
    Ok(line.ends_with(b"\n"))
}

fn progress(taking: &TakingProgress) -> SnapshotProgress {
    SnapshotProgress {
        done_bytes: taking.chunks_done.load(Ordering::Relaxed) * CHUNK_SIZE as u64,
        wanted_bytes: taking.chunks_wanted.load(Ordering::Relaxed) * CHUNK_SIZE as u64,
    }
}

impl Shared {
    fn take_snapshot(&self, order: &SnapshotOrder, running: &Running) -> Result<SnapshotHeader, DaemonError> {
        let taken = match self.volume.upgrade() {
            Some(volume) => self.subject.take(&volume, order, running),
            None => Err(not_served()),
        };
        // Whatever it failed by: of a revocation the caller has to know.
        taken.map_err(|error| match &*self.revocation.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(revocation) => {
                let (id, cause) = (self.subject.paths.id(), revocation.cause);
                DaemonError::BecameTerminal(format!(
                    "the key of volume {id} was revoked while its snapshot was taken: {cause}"
                ))
            }
            None => error,
        })
    }

    fn reply(&self, taken: Result<SnapshotHeader, DaemonError>, running: &Running) -> Reply {
        match taken {
            Ok(header) => Reply::SnapshotTaken {
                header: Box::new(header),
                read_bytes: running.progress.read_bytes.load(Ordering::Relaxed),
            },
            Err(error) => Reply::SnapshotFailed { message: error.to_string(), exit_code: (self.exit_code)(&error) },
        }
    }

    /// Its thread has ended without a word.
    fn given_up(&self) -> Reply {
        let source = io::Error::other("its thread ended; the log of the daemon says more");
        let error = DaemonError::Io { action: "take the snapshot", source };
        Reply::SnapshotFailed { message: error.to_string(), exit_code: (self.exit_code)(&error) }
    }
}

fn not_served() -> DaemonError {
    DaemonError::Io { action: "take the snapshot", source: io::Error::other("the volume is not served any more") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_line_to_a_snapshot_that_has_no_end_is_heard_no_longer_than_any_of_ours() {
        let mut endless = BufReader::new(tokio::io::repeat(b'x'));
        let mut line = Vec::new();
        assert!(!hear(&mut endless, &mut line).await.unwrap());
        assert_eq!(line.len() as u64, MAX_LINE_BYTES);
        assert!(!hear(&mut endless, &mut line).await.unwrap(), "nor by asking again");
        assert_eq!(line.len() as u64, MAX_LINE_BYTES);

        // The control: as long as it may be.
        let longest = [&vec![b'x'; line.len() - 1][..], b"\nnext"].concat();
        line.clear();
        assert!(hear(&mut &longest[..], &mut line).await.unwrap());
        assert_eq!(line, longest[..longest.len() - 4]);
    }

    #[tokio::test]
    async fn a_line_to_a_snapshot_that_comes_in_parts_is_heard_whole() {
        let (mut command, daemon) = tokio::io::duplex(64);
        let (mut daemon, mut line) = (BufReader::new(daemon), Vec::new());
        command.write_all(b"in ").await.unwrap();
        assert!(hear(&mut daemon, &mut line).now_or_never().is_none());
        command.write_all(b"parts\ncut").await.unwrap();
        assert!(hear(&mut daemon, &mut line).await.unwrap());
        assert_eq!(line, b"in parts\n");
        line.clear();
        drop(command);
        assert!(!hear(&mut daemon, &mut line).await.unwrap(), "it has no end");
    }
}
