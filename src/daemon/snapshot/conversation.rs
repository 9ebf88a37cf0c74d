//! The answer to a command that asks for a snapshot: how far it is, and what came of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use zeroize::Zeroize;

use super::order::SnapshotOrder;
use super::running::{Running, lock};
use crate::daemon::attached::Shared;
use crate::daemon::control::{PROGRESS_INTERVAL, Reply, SnapshotProgress};
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
    // Unlike `read_line` it loses nothing of a line that has come in part when another branch is taken.
    let mut lines = reader.lines();
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
            line = lines.next_line() => match line {
                Ok(Some(mut line)) => {
                    if let Ok(renewed) = serde_json::from_str(&line) {
                        *lock(&running.s3) = Some(renewed);
                    }
                    line.zeroize();
                }
                // Ctrl-C, or a command that was killed.
                _ => {
                    running.cancelled.store(true, Ordering::Release);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            },
        }
    }
}

fn progress(taking: &TakingProgress) -> SnapshotProgress {
    SnapshotProgress {
        done_bytes: taking.chunks_done.load(Ordering::Relaxed) * CHUNK_SIZE as u64,
        wanted_bytes: taking.chunks_wanted.load(Ordering::Relaxed) * CHUNK_SIZE as u64,
    }
}

impl Shared {
    fn take_snapshot(&self, order: &SnapshotOrder, running: &Running) -> Result<SnapshotHeader, DaemonError> {
        match self.volume.upgrade() {
            Some(volume) => self.subject.take(&volume, order, running),
            None => Err(not_served()),
        }
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
