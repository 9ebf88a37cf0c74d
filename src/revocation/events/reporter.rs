//! Where an event goes: the journal or log of this process, the log of the volume, the hook.

use std::time::Duration;

use tracing::Level;

use super::event::Event;
use super::hook::Hook;
use super::log::EventLog;

/// Beside the crate's own, so that events are logged by default.
const TARGET: &str = "envol::event";

#[derive(Debug)]
pub struct Reporter {
    pub log: EventLog,
    pub hook: Option<Hook>,
}

impl Reporter {
    /// Never fails, and waits for nothing but the disk that the log lies on.
    pub fn record(&self, event: &Event) {
        trace(event);
        if let Err(error) = self.log.append(event) {
            let path = self.log.path().display();
            tracing::error!("volume {}: an event could not be written to {path}: {error}", event.volume_id);
        }
        if let Some(hook) = &self.hook {
            hook.tell(event);
        }
    }

    /// Waits for the hook, at the end of the process; what is under way at the deadline is ended.
    pub fn finish(&self, deadline: Duration) {
        if let Some(hook) = &self.hook {
            hook.finish(deadline);
        }
    }
}

fn trace(event: &Event) {
    // The level is part of the place in the code.
    macro_rules! at {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                volume_id = event.volume_id.as_str(),
                event = event.kind.as_str(),
                state = event.state.as_str(),
                cause = event.cause.as_deref(),
                request_id = event.request_id.as_deref(),
                "{}",
                event.message
            )
        };
    }
    match event.level() {
        Level::ERROR => at!(Level::ERROR),
        Level::WARN => at!(Level::WARN),
        _ => at!(Level::INFO),
    }
}
