//! Ctrl-C and its kin: the first one makes the drill undo, the second one stops between two steps of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::error::DrillError;

#[derive(Clone, Debug, Default)]
pub(super) struct Interrupts(Arc<AtomicUsize>);

impl Interrupts {
    /// From now on no such signal ends this process.
    pub(super) fn catch(runtime: &Runtime) -> Result<Self, DrillError> {
        let interrupts = Self::default();
        let _inside = runtime.enter();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals =
                signal(kind).map_err(|source| DrillError::Io { action: "listen for signals".to_owned(), source })?;
            let count = Arc::clone(&interrupts.0);
            runtime.spawn(async move {
                while signals.recv().await.is_some() {
                    let said = match count.fetch_add(1, Ordering::Relaxed) {
                        0 => "interrupted: undoing what the drill did",
                        1 => "interrupted again: stopping after this step; `envol drill undo` does the rest",
                        _ => continue,
                    };
                    eprintln!("envol: {said}");
                }
            });
        }
        Ok(interrupts)
    }

    pub(super) fn check(&self) -> Result<(), DrillError> {
        if self.0.load(Ordering::Relaxed) > 0 { Err(DrillError::Interrupted) } else { Ok(()) }
    }

    pub(super) fn stops_undo(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}
