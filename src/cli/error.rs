//! How a command failed: what to print, and what to exit with.

use super::exit_code::ExitStatus;
use crate::catalog::CatalogError;
use crate::daemon::{ControlError, DaemonError};
use crate::drill::DrillError;
use crate::snapshot::SnapshotError;

#[derive(Debug)]
pub(super) struct CliError {
    pub(super) code: u8,
    pub(super) message: String,
    /// The one JSON object is printed already.
    pub(super) printed: bool,
}

impl CliError {
    pub(super) fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self { code: status as u8, message: message.into(), printed: false }
    }

    /// AWS's words say what happened; these say what to do.
    fn with_next_step(status: ExitStatus, message: &str) -> Self {
        let next = match status {
            ExitStatus::KmsRefused => {
                "Check who asks (profile, credentials), the key and its region, and what its policies allow, and try again"
            }
            ExitStatus::KmsUnreachable => "Check the endpoint and the network, and try again",
            _ => return Self::new(status, message),
        };
        Self::new(status, format!("{}. Nothing was changed. {next}", message.trim_end_matches('.')))
    }

    /// What a daemon says of a command's failure, and how the command exits.
    pub(super) fn of_daemon(code: u8, message: String) -> Self {
        match [ExitStatus::KmsRefused, ExitStatus::KmsUnreachable].into_iter().find(|status| *status as u8 == code) {
            Some(status) => Self::with_next_step(status, &message),
            None => Self { code, message, printed: false },
        }
    }

    pub(super) fn from_snapshot(error: SnapshotError) -> Self {
        CatalogError::from(error).into()
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, message)
    }
}

impl From<CatalogError> for CliError {
    fn from(error: CatalogError) -> Self {
        let status = ExitStatus::of_catalog(&error);
        match &error {
            // It ends with what to do next, and something was changed.
            CatalogError::GrantStands { .. } | CatalogError::Unfinished { .. } => Self::new(status, error.to_string()),
            _ => Self::with_next_step(status, &error.to_string()),
        }
    }
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        Self::with_next_step(ExitStatus::of_daemon(&error), &error.to_string())
    }
}

impl From<ControlError> for CliError {
    fn from(error: ControlError) -> Self {
        Self::new(ExitStatus::of_control(&error), error.to_string())
    }
}

impl From<DrillError> for CliError {
    fn from(error: DrillError) -> Self {
        match error {
            // Another command of ours has said it already, next step and all.
            DrillError::Command { code, message } => Self { code, message, printed: false },
            DrillError::Interrupted => Self::new(ExitStatus::Interrupted, "interrupted; what the drill did is undone"),
            error => Self::new(ExitStatus::of_drill(&error), error.to_string()),
        }
    }
}

#[cfg(feature = "local-kms")]
impl From<local_kms::admin::AdminError> for CliError {
    fn from(error: local_kms::admin::AdminError) -> Self {
        Self::new(ExitStatus::of_kms_admin(&error), error.to_string())
    }
}
