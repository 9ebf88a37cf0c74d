//! Waiting for a KMS that cannot be reached: at boot, the network or KMS itself may come up after the volume.
//!
//! Nothing is held meanwhile, not even the image: other commands go on as if nobody wanted the volume, and a signal ends
//! the process at once with nothing to take down.

use std::thread;
use std::time::{Duration, Instant};

use kms_client::{Answer, KmsError};

use super::error::DaemonError;
use super::readiness;
use crate::catalog::CatalogError;
use crate::format::VolumeId;
use crate::secret::UnwrapError;

/// From the first attempt to the second; doubled from one to the next.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A database starts at most so much later than its KMS answers.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A line in the log for each attempt would bury all else in it.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Asks until KMS answers, whatever it answers: a refusal is not waited for. With `patience` [`Duration::MAX`] for as long as
/// it takes, without at most once.
pub(super) fn until_reached<T>(
    id: &VolumeId,
    patience: Option<Duration>,
    mut ask: impl FnMut() -> Result<T, DaemonError>,
) -> Result<T, DaemonError> {
    let mut outcome = ask();
    let Some(patience) = patience else { return outcome };
    let since = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut logged: Option<Instant> = None;
    while let Some(unreachable) = outcome.as_ref().err().and_then(unreachable) {
        let waited = since.elapsed();
        let Some(left) = patience.checked_sub(waited).filter(|left| !left.is_zero()) else { return outcome };
        let status = format!("waiting for KMS for {} s now: {unreachable}", waited.as_secs());
        if logged.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            tracing::warn!("volume {id}: {status}");
            logged = Some(Instant::now());
        }
        readiness::show(&status);
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
        outcome = ask();
    }
    if logged.is_some() {
        tracing::warn!("volume {id}: KMS answers again, after {} s", since.elapsed().as_secs());
    }
    outcome
}

/// What kept the answer of KMS away.
fn unreachable(error: &DaemonError) -> Option<&KmsError> {
    let DaemonError::Catalog(error) = error else { return None };
    unanswered(error)
}

fn unanswered(error: &CatalogError) -> Option<&KmsError> {
    match error {
        CatalogError::Unwrap { source, .. } => match &**source {
            UnwrapError::Kms(error) if error.answer == Answer::Unreachable => Some(error),
            _ => None,
        },
        CatalogError::StillRevoked { source, .. } => unanswered(source),
        _ => None,
    }
}
