//! Serving: tasks beside the main thread watch the key, the control socket and signals; the main thread waits for what
//! ends the volume, and may then block without holding up the watch.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;
use std::{fs, io};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use zeroize::Zeroize;

use super::attached::{Attached, Shared};
use super::control::{Command, MAX_LINE_BYTES, PROTOCOL_VERSION, Reply, Request};
use super::error::DaemonError;
use super::guard::Guard;
use super::options::AttachOptions;
use super::rewrap::RewrapStep;
use super::terminal::CutOff;
use crate::catalog::{VolumeGrant, VolumePaths};

/// How often to look whether somebody took the image's mount away.
const MOUNT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last answer may take to leave the control socket.
const LAST_ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// What to do about a daemon that is older or newer than the command.
const OTHER_VERSION: &str = "it is of another version than the command: detach the volume and attach it again";

pub(super) enum Event {
    Revoked(Box<CutOff>),
    Detach(DetachRequest),
    Rewrap(Box<RewrapStep>),
    Signal,
}

pub(super) struct DetachRequest {
    force: bool,
    reply: oneshot::Sender<Reply>,
    /// Ends when the reply has been written.
    written: Receiver<()>,
}

/// Returns when the volume is detached; with an error when it became terminal or its mount was taken away.
pub(super) fn serve(
    mut attached: Attached,
    options: &AttachOptions,
    grant: Option<VolumeGrant>,
    metrics: Option<std::net::TcpListener>,
) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(DaemonError::io("start the asynchronous runtime"))?;
    let (sender, events) = mpsc::channel();
    let mut guard = match start_tasks(&runtime, &attached, options, grant, metrics, &sender) {
        Ok(guard) => guard,
        Err(error) => {
            attached.tear_down();
            return Err(error);
        }
    };
    attached.note_footprint(options);
    attached.keep_companion();
    attached.report.attached(&attached);
    super::readiness::ready(&attached.paths);
    let outcome = wait_for_the_end(attached, &events, &mut guard);
    // A probe may still wait for a name server; nothing depends on it any more.
    runtime.shutdown_timeout(LAST_ANSWER_DEADLINE);
    outcome
}

fn wait_for_the_end(mut attached: Attached, events: &Receiver<Event>, guard: &mut Guard) -> Result<(), DaemonError> {
    loop {
        match events.recv_timeout(MOUNT_CHECK_INTERVAL) {
            Ok(Event::Revoked(cut_off)) => return Err(attached.purge(*cut_off)),
            Ok(Event::Detach(request)) if !request.force && attached.snapshots.is_running() => {
                let id = attached.paths.id();
                let message = format!(
                    "a snapshot of volume {id} is being taken; wait for it, or detach with --force, which gives it up"
                );
                let _ = request.reply.send(Reply::Busy { message });
            }
            Ok(Event::Detach(request)) => match attached.detach(request.force) {
                Err(error) if attached.is_up() => drop(request.reply.send(refusal(&error))),
                outcome => {
                    attached.report.detached(&outcome);
                    // The image's lock goes with it: once answered, the volume can be attached again.
                    drop(attached);
                    let reply = outcome.as_ref().map_or_else(refusal, |()| Reply::Detached);
                    let _ = request.reply.send(reply);
                    let _ = request.written.recv_timeout(LAST_ANSWER_DEADLINE);
                    return outcome;
                }
            },
            Ok(Event::Rewrap(step)) => step.take(&mut attached, guard),
            Ok(Event::Signal) => match attached.detach(false) {
                Err(error) if attached.is_up() => tracing::error!("asked to end, but serving goes on: {error}"),
                outcome => {
                    attached.report.detached(&outcome);
                    return outcome;
                }
            },
            Err(RecvTimeoutError::Timeout) if attached.mount_is_gone() => {
                attached.tear_down();
                let source = io::Error::other("somebody unmounted the image");
                let outcome = Err(DaemonError::Io { action: "serve any longer", source });
                attached.report.detached(&outcome);
                return outcome;
            }
            // A snapshot needs the image alone, and may end first.
            Err(RecvTimeoutError::Timeout) if attached.file_system_is_gone() && !attached.snapshots.is_running() => {
                tracing::info!("volume {}: its file system was unmounted; detaching", attached.paths.id());
                match attached.detach(false) {
                    Err(error) if attached.is_up() => tracing::error!("its image is served on: {error}"),
                    outcome => {
                        attached.report.detached(&outcome);
                        return outcome;
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => attached.keep_companion(),
            Err(RecvTimeoutError::Disconnected) => unreachable!("the caller holds a sender"),
        }
    }
}

fn refusal(error: &DaemonError) -> Reply {
    let message = error.to_string();
    if error.is_busy() { Reply::Busy { message } } else { Reply::Failed { message } }
}

fn start_tasks(
    runtime: &Runtime,
    attached: &Attached,
    options: &AttachOptions,
    grant: Option<VolumeGrant>,
    metrics: Option<std::net::TcpListener>,
    events: &Sender<Event>,
) -> Result<Guard, DaemonError> {
    let shared = attached.shared(options, grant.as_ref());
    let _in_runtime = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(DaemonError::io("handle signals"))?;
        let events = events.clone();
        runtime.spawn(async move { while signals.recv().await.is_some() && events.send(Event::Signal).is_ok() {} });
    }
    let listener = listen(&attached.paths).map_err(DaemonError::io("listen on the control socket"))?;
    runtime.spawn(accept(listener, Arc::clone(&shared), events.clone()));
    if let Some(listener) = metrics {
        let listener = TcpListener::from_std(listener).map_err(DaemonError::io("listen for who wants metrics"))?;
        let shared = Arc::clone(&shared);
        runtime.spawn(super::metrics::serve(listener, Arc::new(move || shared.exposition())));
    }

    let guard = Guard::start(runtime.handle(), attached, options, grant, Arc::clone(&shared), events.clone());
    Ok(guard)
}

fn listen(paths: &VolumePaths) -> io::Result<UnixListener> {
    let path = paths.control_socket();
    // We hold the image's lock, so this is a dead daemon's.
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

async fn accept(listener: UnixListener, shared: Arc<Shared>, events: Sender<Event>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(stream, Arc::clone(&shared), events.clone()));
            }
            Err(error) => {
                tracing::warn!("control socket: {error}");
                tokio::time::sleep(MOUNT_CHECK_INTERVAL).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, shared: Arc<Shared>, events: Sender<Event>) {
    if let Err(error) = try_answer(stream, &shared, &events).await {
        tracing::debug!("control socket: {error}");
    }
}

async fn try_answer(stream: UnixStream, shared: &Arc<Shared>, events: &Sender<Event>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    (&mut reader).take(MAX_LINE_BYTES).read_line(&mut line).await?;
    let failed = |message: String| Reply::Failed { message };
    let (_written_sender, written) = mpsc::channel();
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) if request.version != PROTOCOL_VERSION && !request.command.is_timeless() => failed(format!(
            "this daemon speaks version {PROTOCOL_VERSION} of the control protocol, not {}; {OTHER_VERSION}",
            request.version
        )),
        Ok(request) if request.dir != shared.dir => {
            Reply::AnotherRoot { pid: std::process::id(), dir: shared.dir.clone() }
        }
        Ok(Request { command: Command::Status, .. }) => Reply::Status(Box::new(shared.status())),
        Ok(Request { command: Command::Detach { force }, .. }) => {
            let (reply, answered) = oneshot::channel();
            let _ = events.send(Event::Detach(DetachRequest { force, reply, written }));
            answered.await.unwrap_or_else(|_| failed("the volume ended otherwise meanwhile".to_owned()))
        }
        Ok(Request { command: Command::Resize { size_bytes }, .. }) => {
            super::resize::converse(shared, size_bytes, &mut writer).await?
        }
        Ok(Request { command: Command::Snapshot(order), .. }) => {
            super::snapshot::converse(shared, *order, &mut reader, &mut writer).await?
        }
        Ok(Request { command: Command::Rewrap { keys }, .. }) => {
            super::rewrap::converse(shared, keys.map(|keys| *keys), events).await
        }
        Err(error) => failed(format!("this daemon does not know what it was asked ({error}); {OTHER_VERSION}")),
    };
    line.zeroize();
    send(&mut writer, &reply).await?;
    writer.shutdown().await
}

/// One line.
pub(super) async fn send(writer: &mut OwnedWriteHalf, reply: &Reply) -> io::Result<()> {
    let mut json = serde_json::to_vec(reply)?;
    json.push(b'\n');
    writer.write_all(&json).await
}
