//! SIGINT or SIGTERM, which is how one ends what goes on until then.

use std::sync::mpsc::{self, Receiver};

use tokio::runtime::Runtime;

use super::error::CliError;
use super::exit_code::ExitStatus;

/// Waits for it beside what the command does.
pub(super) struct Interruption {
    pub(super) received: Receiver<()>,
    _runtime: Runtime,
}

impl Interruption {
    pub(super) fn await_one() -> Result<Self, CliError> {
        let runtime = Runtime::new().map_err(|error| CliError::new(ExitStatus::Unexpected, error.to_string()))?;
        let (send, received) = mpsc::channel();
        runtime.spawn(async move {
            interrupted().await;
            // Nobody receives it once the reading has ended.
            let _ = send.send(());
        });
        Ok(Self { received, _runtime: runtime })
    }

    /// Blocks until it comes. Takes all of it: a closure that names `received` alone leaves the runtime behind, and with it
    /// whoever listens.
    pub(super) fn wait(self) -> bool {
        self.received.recv().is_ok()
    }
}

pub(super) async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
