//! Tells somebody outside of each event, in order, on a thread of its own: whoever records an event waits for nothing
//! that happens here.

mod program;
mod webhook;

use std::io;
use std::str::FromStr;
use std::sync::mpsc as blocking;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use reqwest::Url;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::event::Event;
use webhook::Webhook;

/// More wait only if the hook has hung for minutes.
const QUEUE_LEN: usize = 256;

/// From the order to give up to the end of the thread: long enough to kill a program.
const GIVING_UP: Duration = Duration::from_secs(1);

/// What `--on-event` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookTarget {
    /// Is sent each event with POST.
    Webhook(Url),
    /// A command line for the shell, run for each event.
    Program(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHook {
    #[error("not a URL: {0}")]
    Url(String),
    #[error("empty; write a URL with http:// or https://, or a command line")]
    Empty,
}

/// Dropped without [`Hook::finish`], it gives up at once.
#[derive(Debug)]
pub struct Hook(Mutex<Option<Running>>);

#[derive(Debug)]
struct Running {
    queue: mpsc::Sender<Event>,
    give_up: oneshot::Sender<()>,
    /// Nothing is ever sent: it disconnects when the thread ends.
    ended: blocking::Receiver<()>,
}

impl FromStr for HookTarget {
    type Err = InvalidHook;

    fn from_str(text: &str) -> Result<Self, InvalidHook> {
        match text {
            url if url.starts_with("http://") || url.starts_with("https://") => {
                url.parse().map(Self::Webhook).map_err(|error| InvalidHook::Url(format!("{error}")))
            }
            command if command.trim().is_empty() => Err(InvalidHook::Empty),
            command => Ok(Self::Program(command.to_owned())),
        }
    }
}

impl Hook {
    pub fn start(target: HookTarget) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (queue, events) = mpsc::channel(QUEUE_LEN);
        let (give_up, given_up) = oneshot::channel();
        let (end, ended) = blocking::channel();
        thread::Builder::new().name("hook".to_owned()).spawn(move || {
            deliver_until(runtime, target, events, given_up);
            drop(end);
        })?;
        Ok(Self(Mutex::new(Some(Running { queue, give_up, ended }))))
    }

    /// Returns at once. An event that there is no room for is not told.
    pub fn tell(&self, event: &Event) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &*running else { return };
        let why = match running.queue.try_send(event.clone()) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => "the hook is behind by too many",
            Err(TrySendError::Closed(_)) => "its thread has ended",
        };
        tracing::warn!("volume {}: the hook is not told of {}: {why}", event.volume_id, event.kind.as_str());
    }

    /// Waits until all events are told; what is under way at the deadline is ended, what waits is dropped.
    pub fn finish(&self, deadline: Duration) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { queue, give_up, ended }) = running else { return };
        drop(queue);
        if ended.recv_timeout(deadline) == Err(blocking::RecvTimeoutError::Timeout) {
            // Not received when it has just ended.
            let _ = give_up.send(());
            let _ = ended.recv_timeout(GIVING_UP);
        }
    }
}

fn deliver_until(
    runtime: Runtime,
    target: HookTarget,
    mut events: mpsc::Receiver<Event>,
    given_up: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        tokio::select! {
            // Nothing is given up that is done.
            biased;
            () = deliver_all(target, &mut events) => {}
            _ = given_up => tracing::warn!("the hook did not take the last {} events in time", events.len() + 1),
        }
    });
    // Not dropped: that would wait for a name server.
    runtime.shutdown_background();
}

async fn deliver_all(target: HookTarget, events: &mut mpsc::Receiver<Event>) {
    let mut webhook = None;
    while let Some(event) = events.recv().await {
        let told = match &target {
            HookTarget::Program(command) => program::run(command, &event, program::DEADLINE).await,
            HookTarget::Webhook(url) => webhook.get_or_insert_with(|| Webhook::new(url.clone())).post(&event).await,
        };
        if let Err(problem) = told {
            tracing::warn!("volume {}: the hook failed at {}: {problem}", event.volume_id, event.kind.as_str());
        }
    }
}

#[cfg(test)]
mod tests;
