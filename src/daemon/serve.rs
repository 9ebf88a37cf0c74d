//! Serving: tasks beside the main thread watch the key, the control socket and signals; the main thread waits for what
//! ends the volume, and may then block without holding up the watch.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;
use std::{fs, io};

use kms_client::{Answer, Login};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::attached::{Attached, Shared};
use super::aws_source::AwsSource;
use super::control::{Command, MAX_LINE_BYTES, PROTOCOL_VERSION, Reply, Request};
use super::error::DaemonError;
use super::options::AttachOptions;
use crate::catalog::{VolumeGrant, VolumePaths, terminal_record, write_terminal_record};
use crate::revocation::{KeyGuardian, Revocation};
use crate::store::Store;
use crate::volume::{Ended, Phase};

/// How often to look whether somebody took the image's mount away.
const MOUNT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the last answer may take to leave the control socket.
const LAST_ANSWER_DEADLINE: Duration = Duration::from_secs(2);

enum Event {
    Revoked(Box<Revocation>),
    Detach(DetachRequest),
    Signal,
}

struct DetachRequest {
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
) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(DaemonError::io("start the asynchronous runtime"))?;
    let (sender, events) = mpsc::channel();
    if let Err(error) = start_tasks(&runtime, &attached, options, grant, &sender) {
        attached.tear_down();
        return Err(error);
    }
    super::readiness::ready(&attached.paths);
    let outcome = wait_for_the_end(attached, &events);
    // A probe may still wait for a name server; nothing depends on it any more.
    runtime.shutdown_timeout(LAST_ANSWER_DEADLINE);
    outcome
}

fn wait_for_the_end(mut attached: Attached, events: &Receiver<Event>) -> Result<(), DaemonError> {
    loop {
        match events.recv_timeout(MOUNT_CHECK_INTERVAL) {
            Ok(Event::Revoked(revocation)) => {
                let message = attached.purge(&revocation);
                return Err(DaemonError::BecameTerminal(message));
            }
            Ok(Event::Detach(request)) => match attached.detach(request.force) {
                Err(error) if attached.is_up() => drop(request.reply.send(refusal(&error))),
                outcome => {
                    // The image's lock goes with it: once answered, the volume can be attached again.
                    drop(attached);
                    let reply = outcome.as_ref().map_or_else(refusal, |()| Reply::Detached);
                    let _ = request.reply.send(reply);
                    let _ = request.written.recv_timeout(LAST_ANSWER_DEADLINE);
                    return outcome;
                }
            },
            Ok(Event::Signal) => match attached.detach(false) {
                Err(error) if attached.is_up() => tracing::error!("asked to end, but serving goes on: {error}"),
                outcome => return outcome,
            },
            Err(RecvTimeoutError::Timeout) if attached.mount_is_gone() => {
                attached.tear_down();
                let source = io::Error::other("somebody unmounted the image");
                return Err(DaemonError::Io { action: "serve any longer", source });
            }
            Err(RecvTimeoutError::Timeout) => {}
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
    events: &Sender<Event>,
) -> Result<(), DaemonError> {
    let shared = attached.shared();
    let _in_runtime = runtime.enter();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).map_err(DaemonError::io("handle signals"))?;
        let events = events.clone();
        runtime.spawn(async move { while signals.recv().await.is_some() && events.send(Event::Signal).is_ok() {} });
    }
    let listener = listen(&attached.paths).map_err(DaemonError::io("listen on the control socket"))?;
    runtime.spawn(accept(listener, Arc::clone(&shared), events.clone()));

    let superblock = attached.header.superblock();
    let region = Some(superblock.kms_key.region().to_owned());
    let guardian = KeyGuardian {
        source: AwsSource {
            login: Login { profile: options.kms_profile.clone(), region },
            grant_token: grant.as_ref().map(|grant| grant.token.clone()),
        },
        kms_key: superblock.kms_key.clone(),
        canary: superblock.wrapped_canary.clone(),
        canary_context: superblock.database_id.canary_context(&superblock.volume_id),
        options: options.guardian,
        verification: Arc::clone(&shared.verification),
    };
    let store = Arc::downgrade(&attached.store);
    runtime.spawn(watch(guardian, grant, shared, store, attached.paths.clone(), events.clone()));
    Ok(())
}

/// From the answer of KMS to a volume without a key, and the record of it on disk, nothing else comes between.
async fn watch(
    guardian: KeyGuardian<AwsSource>,
    grant: Option<VolumeGrant>,
    shared: Arc<Shared>,
    store: Weak<dyn Store>,
    paths: VolumePaths,
    events: Sender<Event>,
) {
    let mut revocation = guardian.watch().await;
    if let (Some(grant), Answer::AccessDenied) = (grant, revocation.answer.answer) {
        // Before AWS's own words: of those the record on disk holds only the beginning.
        revocation.answer.message = format!("{}: {}", grant.doubt(), revocation.answer.message);
    }
    *shared.revocation.lock().unwrap_or_else(PoisonError::into_inner) = Some(revocation.clone());
    if let Some(volume) = shared.volume.upgrade() {
        volume.end(Ended { phase: Phase::Terminal, reason: revocation.cause.to_string(), at: revocation.at });
    }
    tracing::error!("volume {} is terminal: {}: {}", paths.id(), revocation.cause, revocation.answer);
    if let Some(store) = store.upgrade() {
        let answer = &revocation.answer;
        let detail = format!("{}: {}", answer.code.as_deref().unwrap_or("no code"), answer.message);
        let record =
            terminal_record(paths.id(), revocation.cause, revocation.at, &detail, answer.request_id.as_deref());
        if let Err(error) = write_terminal_record(&*store, &record) {
            tracing::error!("volume {}: the record that it is terminal could not be written: {error}", paths.id());
        }
    }
    let _ = events.send(Event::Revoked(Box::new(revocation)));
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

async fn try_answer(stream: UnixStream, shared: &Shared, events: &Sender<Event>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MAX_LINE_BYTES)).read_line(&mut line).await?;
    let failed = |message: String| Reply::Failed { message };
    let (_written_sender, written) = mpsc::channel();
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(request) if request.version != PROTOCOL_VERSION => failed(format!(
            "this daemon speaks version {PROTOCOL_VERSION} of the control protocol, not {}",
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
        Err(error) => failed(format!("not a request: {error}")),
    };
    let mut json = serde_json::to_vec(&reply)?;
    json.push(b'\n');
    writer.write_all(&json).await?;
    writer.shutdown().await
}
