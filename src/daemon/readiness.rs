//! Tells whoever started this daemon (systemd, or this program with another hat on) how far it is.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::io::IsTerminal;

use sd_notify::NotifyState;

use crate::catalog::VolumePaths;

/// What the daemon is doing, in a few words; the last one before it ends is why.
pub(super) fn report(status: &str) {
    tracing::info!("{status}");
    // Nobody has to listen.
    let _ = sd_notify::notify(&[NotifyState::Status(status)]);
}

pub fn report_failure(message: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(message)]);
}

pub(super) fn ready(paths: &VolumePaths) {
    let _ = sd_notify::notify(&[NotifyState::Status("serving"), NotifyState::Ready]);
    tracing::info!("volume {} is served", paths.id());
    if !std::io::stdin().is_terminal() {
        // Until now Ctrl-C at the command that started this ended both. From now on the volume stays. Under systemd
        // this process leads its session already, and nothing changes.
        let _ = rustix::process::setsid();
    }
}
