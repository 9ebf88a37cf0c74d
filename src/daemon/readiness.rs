//! Tells whoever started this daemon (systemd, or this program with another hat on) how far it is.
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::io::IsTerminal;

use sd_notify::NotifyState;

use crate::catalog::VolumePaths;

/// Before a warning for whoever attached.
pub(super) const WARNING_KEY: &str = "X_ENVOL_WARNING=";

/// Before the one line that says why the daemon ended.
pub(super) const FAILURE_KEY: &str = "X_ENVOL_FAILURE=";

/// What the daemon is doing, in a few words.
pub(super) fn report(status: &str) {
    tracing::info!("{status}");
    show(status);
}

/// The same for whoever looks now, and not for the log.
pub(super) fn show(status: &str) {
    // Nobody has to listen.
    let _ = sd_notify::notify(&[NotifyState::Status(&status.replace('\n', " "))]);
}

/// What whoever attached should know although it serves.
pub(super) fn warn(message: &str) {
    tracing::warn!("{message}");
    let line = format!("{WARNING_KEY}{}", message.replace('\n', " "));
    let _ = sd_notify::notify(&[NotifyState::Custom(&line)]);
}

/// Why it does not serve, for [`super::spawn`]; systemd ignores what it does not know.
pub fn report_failure(message: &str) {
    let line = format!("{FAILURE_KEY}{}", message.replace('\n', " "));
    let _ = sd_notify::notify(&[NotifyState::Custom(&line)]);
}

pub(super) fn ready(paths: &VolumePaths) {
    if !std::io::stdin().is_terminal() {
        // Until now Ctrl-C at the command that started this ended both. From now on the volume stays. Under systemd
        // this process leads its session already, and nothing changes.
        let _ = rustix::process::setsid();
    }
    // Last: once the command has heard it, it may end, and with it the session that this process was in.
    tracing::info!("volume {} is served", paths.id());
    let _ = sd_notify::notify(&[NotifyState::Status("serving"), NotifyState::Ready]);
}
