//! What can go wrong on the host, told apart by what the caller can do about it.

use std::io;
use std::time::Duration;

/// An error of a verb on the kernel.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A program is not installed.
    #[error("{program} is not installed; the Debian package {package} brings it")]
    Missing { program: String, package: &'static str },

    /// A program ran and said no. `status` is its exit code or the signal that ended it.
    #[error("{program} failed ({status}): {stderr}")]
    Failed { program: String, status: String, stderr: String },

    /// A program did not end in time and was killed. `still_running`: it waits inside the kernel, where no signal reaches it.
    #[error("{program} was not done after {after:?} and was killed{}", if *.still_running { ", but still waits in the kernel" } else { "" })]
    TimedOut { program: String, after: Duration, still_running: bool },

    /// Something is in use; [`super::processes::holders_of`] says by whom.
    #[error("{what} is busy")]
    Busy { what: String },

    /// The kernel refused what should have worked.
    #[error("{context}: {source}")]
    Io { context: String, source: io::Error },

    /// This host, or this place on it, cannot do what was asked.
    #[error("{what}")]
    Unsupported { what: String },
}

/// Says what was being done when the kernel refused.
pub(super) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, HostError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, HostError> {
        self.map_err(|source| HostError::Io { context: what(), source: source.into() })
    }
}
