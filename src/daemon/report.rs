//! What is put on record of a volume, and who is told.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::attached::Attached;
use super::error::DaemonError;
use crate::catalog::{VolumePaths, read_revoked};
use crate::format::{Cause, RevocationPolicy, VolumeId};
use crate::revocation::events::{
    Event, EventKind, EventLog, Hook, HookTarget, InvalidHook, RecordedBy, Reporter, VolumeState,
};
use crate::revocation::{Purge, Revocation, Transition};

/// How long a process, all else done, waits for the hook.
const HOOK_DEADLINE: Duration = Duration::from_secs(5);

/// How long whoever must know that an event is on record waits for the disk.
const RECORD_DEADLINE: Duration = Duration::from_secs(2);

/// The event log of one volume and its hook, as one of several writers has them. A thread of its own writes: a disk that does
/// not answer must not hold up who watches the key, nor a purge.
#[derive(Clone)]
pub(super) struct Report {
    id: VolumeId,
    by: RecordedBy,
    writer: mpsc::Sender<Message>,
}

enum Message {
    Record(Box<Event>, mpsc::Sender<()>),
    Finish(mpsc::Sender<()>),
}

impl Report {
    pub(super) fn start(paths: &VolumePaths, on_event: Option<&str>, by: RecordedBy) -> Result<Self, DaemonError> {
        let target = on_event.map(str::parse::<HookTarget>).transpose();
        let target = target.map_err(|error: InvalidHook| std::io::Error::other(error));
        let hook = target.and_then(|target| target.map(Hook::start).transpose());
        let hook = hook.map_err(DaemonError::io("start the hook"))?;
        let reporter = Reporter { log: EventLog::at(paths.events()), hook };
        let (writer, messages) = mpsc::channel();
        let thread = thread::Builder::new().name("events".to_owned()).spawn(move || write(&reporter, &messages));
        thread.map_err(DaemonError::io("start the writer of events"))?;
        Ok(Self { id: paths.id().clone(), by, writer })
    }

    /// The last thing before the process ends.
    pub(super) fn finish(&self) {
        let (done, finished) = mpsc::channel();
        if self.writer.send(Message::Finish(done)).is_ok() {
            let _ = finished.recv_timeout(HOOK_DEADLINE + RECORD_DEADLINE);
        }
    }

    /// On record when this returns, if the disk answers.
    fn record(&self, event: Event) {
        let _ = self.tell(event).recv_timeout(RECORD_DEADLINE);
    }

    /// What is returned hears when it is on record.
    fn tell(&self, event: Event) -> mpsc::Receiver<()> {
        let (done, recorded) = mpsc::channel();
        let _ = self.writer.send(Message::Record(Box::new(event), done));
        recorded
    }

    fn event(&self, kind: EventKind, state: VolumeState, message: impl Into<String>) -> Event {
        Event::new(self.id.clone(), kind, state, message).by(self.by)
    }

    pub(super) fn attached(&self, attached: &Attached) {
        let id = &self.id;
        let message = match &attached.dir {
            Some(dir) => format!("volume {id} is attached at {}", dir.display()),
            None => format!("volume {id} is attached: its image is {}", attached.paths.image().display()),
        };
        self.record(self.event(EventKind::Attached, VolumeState::InUse, message));
    }

    /// Call before the image's lock goes, so that a later daemon's events come later.
    pub(super) fn detached(&self, outcome: &Result<(), DaemonError>) {
        let id = &self.id;
        let event = |message| self.event(EventKind::Detached, VolumeState::Available, message);
        match outcome {
            Ok(()) => self.record(event(format!("volume {id} is detached"))),
            Err(error @ DaemonError::Lost { reason, .. }) => {
                self.record(event(error.to_string()).cause(reason));
            }
            // A purge follows, and has events of its own.
            Err(DaemonError::BecameTerminal(_) | DaemonError::Stopped(_)) => {}
            Err(error) => {
                self.record(event(format!("volume {id} is detached, but not in good order: {error}")));
            }
        }
    }

    pub(super) fn recovered(&self) {
        let message = format!("volume {} may be used again: its key came back in time", self.id);
        self.record(self.event(EventKind::Recovered, VolumeState::InUse, message));
    }

    pub(super) fn transition(&self, transition: &Transition) {
        let id = &self.id;
        let event = |kind, message| self.event(kind, VolumeState::InUse, message);
        let event = match transition {
            Transition::Unverified(answer) => {
                let message = format!("KMS does not confirm the key of volume {id}; serving goes on: {answer}");
                let event = event(EventKind::Unverified, message).cause(Cause::Unverified);
                event
                    .request_id(answer.request_id.clone())
                    .next("check that this host reaches KMS, and its credentials")
            }
            Transition::Verified(since) => event(
                EventKind::Verified,
                format!("KMS confirms the key of volume {id} again; it had not since {since}"),
            ),
            Transition::StillUnverified { answer, unverified_s } => {
                // No event: nothing happened. A line, so that who reads the log knows that it goes on.
                let volume_id = id.as_str();
                tracing::warn!(
                    volume_id,
                    "KMS has not confirmed the key of volume {id} for {unverified_s} s: {answer}"
                );
                return;
            }
            Transition::DenialNotConfirmed(answer) => {
                let message =
                    format!("KMS denied the key of volume {id} and did not repeat it; serving goes on: {answer}");
                event(EventKind::DenialNotConfirmed, message).request_id(answer.request_id.clone())
            }
        };
        // Not waited for: the guardian has to go on.
        drop(self.tell(event));
    }

    /// That serving ended, and why.
    pub(super) fn ended(&self, revocation: &Revocation, policy: RevocationPolicy, erased: bool) {
        let state = revocation.state(policy);
        let kind = match state {
            VolumeState::Available | VolumeState::InUse => EventKind::Stopped,
            VolumeState::Recoverable => EventKind::Recoverable,
            VolumeState::Terminal if erased => EventKind::Erased,
            VolumeState::Terminal => EventKind::Terminal,
        };
        let event = self.event(kind, state, self.message(revocation, policy)).at(revocation.at).cause(revocation.cause);
        let event = event.detail(revocation.detail()).request_id(revocation.answer.request_id.clone());
        self.record(event.next(next_step(state)));
    }

    pub(super) fn purged(&self, purge: &Purge, state: VolumeState, cause: Option<Cause>, left: &[String]) {
        let id = &self.id;
        let millis = purge.elapsed().as_millis();
        let message = if left.is_empty() {
            format!("nothing of volume {id} is left on this host; that took {millis} ms")
        } else {
            format!("volume {id} is taken off this host but for: {}", left.join("; "))
        };
        let mut event = self.event(EventKind::Purged, state, message).purge(purge.steps().to_vec(), left.to_vec());
        if let Some(cause) = cause {
            event = event.cause(cause);
        }
        if !left.is_empty() {
            event = event.next("stop what holds it; the next envol command takes the rest away");
        }
        self.record(event);
    }

    /// By whoever came after a daemon that ended unasked.
    pub(super) fn daemon_died(&self, paths: &VolumePaths, purge: &Purge, left: &[String]) {
        let id = &self.id;
        let state = match read_revoked(paths) {
            Some(crate::catalog::CatalogError::Recoverable { .. }) => VolumeState::Recoverable,
            Some(_) => VolumeState::Terminal,
            None => VolumeState::Available,
        };
        let message = format!("the daemon of volume {id} ended unasked; what it left on this host was taken away");
        let event = self.event(EventKind::DaemonDied, state, message);
        self.record(event.next(format!("`envol status {id}` says whether it can be attached again")));
        self.purged(purge, state, None, left);
    }

    /// What happened, to which volume, why, and what to do next.
    pub(super) fn message(&self, revocation: &Revocation, policy: RevocationPolicy) -> String {
        let Self { id, .. } = self;
        let Revocation { cause, answer, at, .. } = revocation;
        let at = at.round(jiff::Unit::Millisecond).unwrap_or(*at);
        let state = revocation.state(policy);
        let what = match state {
            VolumeState::Available | VolumeState::InUse => "stopped serving",
            VolumeState::Recoverable => "is inaccessible",
            VolumeState::Terminal => "is terminal",
        };
        format!("volume {id} {what} since {at}: {cause} ({answer}). Next: {}", next_step(state))
    }
}

fn write(reporter: &Reporter, messages: &mpsc::Receiver<Message>) {
    for message in messages {
        let done = match message {
            Message::Record(event, done) => {
                reporter.record(&event);
                done
            }
            Message::Finish(done) => {
                reporter.finish(HOOK_DEADLINE);
                done
            }
        };
        // Nobody has to wait for it.
        let _ = done.send(());
    }
}

/// What whoever runs the database should do.
fn next_step(state: VolumeState) -> &'static str {
    match state {
        VolumeState::Available | VolumeState::InUse => "once KMS answers, attach it again; nothing was revoked",
        VolumeState::Recoverable => "allow the key again and attach the volume, before the time of its policy is over",
        VolumeState::Terminal => {
            "allow the key again, then make a new volume of the newest snapshot (`envol create --snapshot`)"
        }
    }
}
