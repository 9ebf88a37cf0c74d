//! The end that the owner of the key decides: from the guardian's verdict to an empty host.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::attached::{Attached, Shared};
use super::detach::forget_runtime_files;
use super::error::DaemonError;
use super::remains::Remains;
use crate::catalog::{UnlockedHeader, VolumePaths, erase_keys, revocation_record, write_lifecycle};
use crate::format::{Cause, RevocationPolicy};
use crate::revocation::{Purge, Revocation, Step, Trust};
use crate::store::Store;
use crate::volume::{Ended, Phase, Volume};

/// What became of the volume, before anything on the host was touched.
pub(super) struct CutOff {
    pub(super) revocation: Revocation,
    policy: RevocationPolicy,
    pub(super) purge: Purge,
    pub(super) erased: bool,
}

/// Where the record goes, and who writes the header beside it.
type Image = (Arc<dyn Store>, Arc<Mutex<UnlockedHeader>>);

/// Takes the keys away and has the image say so. By the task that heard the answer: nothing else comes between.
pub(super) fn cut_off(
    revocation: Revocation,
    policy: RevocationPolicy,
    shared: &Shared,
    volume: Option<&Volume>,
    image: Option<Image>,
    paths: &VolumePaths,
) -> CutOff {
    let mut purge = Purge::begin();
    shared.note_revocation(&revocation);
    if let Some(volume) = volume {
        purge.step(Step::TerminalFlag, || {
            volume.stop();
            Ok(())
        });
        purge.step(Step::KeysWiped, || {
            volume.end(Ended { phase: Phase::Terminal, reason: revocation.cause.to_string(), at: revocation.at });
            Ok(())
        });
    }
    let mut erased = false;
    if let Some((store, header)) = image {
        purge.step(Step::RecordWritten, || {
            let (revocation, paths) = (revocation.clone(), paths.clone());
            let written = within(Step::RecordWritten.deadline(), move || {
                // Nobody may write the wrapped keys once more after they were erased.
                let _writer = header.lock().unwrap_or_else(PoisonError::into_inner);
                write_record(&revocation, policy, &*store, &paths)
            });
            erased = written?;
            Ok(())
        });
    }
    CutOff { revocation, policy, purge, erased }
}

/// A disk that does not answer must not hold up the rest. What was begun goes on beside it.
fn within(deadline: Duration, write: impl FnOnce() -> Result<bool, String> + Send + 'static) -> Result<bool, String> {
    let (sender, written) = mpsc::channel();
    let begun = thread::Builder::new().name("record".to_owned()).spawn(move || sender.send(write()));
    begun.map_err(|error| format!("the record was not written: {error}"))?;
    let late = || Err(format!("the backing store has not taken the record within {} ms", deadline.as_millis()));
    written.recv_timeout(deadline).unwrap_or_else(|_| late())
}

/// Returns whether the wrapped keys were erased as well. Nobody revoked a key that could not be verified in time: the image
/// says nothing then.
fn write_record(
    revocation: &Revocation,
    policy: RevocationPolicy,
    store: &dyn Store,
    paths: &VolumePaths,
) -> Result<bool, String> {
    if revocation.cause == Cause::Unverified {
        return Ok(false);
    }
    let (detail, request_id) = (revocation.detail(), revocation.answer.request_id.as_deref());
    let record = revocation_record(paths.id(), policy, revocation.cause, revocation.at, &detail, request_id);
    let written = write_lifecycle(store, &record).map_err(|error| format!("the record was not written: {error}"));
    let erases = policy == RevocationPolicy::Erase && may_erase(revocation);
    if erases {
        erase_keys(store).map_err(|error| format!("the wrapped keys were not overwritten: {error}"))?;
    }
    written.map(|()| erases)
}

/// Only what the owner did to the key itself, and only if TLS proved who said so: what is erased cannot come back.
fn may_erase(revocation: &Revocation) -> bool {
    let is_owners_will = matches!(revocation.cause, Cause::KeyDisabled | Cause::KeyPendingDeletion);
    if is_owners_will && revocation.trust != Trust::Proven {
        tracing::warn!("the wrapped keys are not erased: that takes an answer over https");
    }
    is_owners_will && revocation.trust == Trust::Proven
}

impl Attached {
    /// The rest. Returns how serving ended: what happened, to which volume, why, and what to do next.
    pub(super) fn purge(&mut self, cut_off: CutOff) -> DaemonError {
        let CutOff { revocation, policy, mut purge, erased } = cut_off;
        let mut remains = Remains::new(self.footprint.clone(), self.fuse.take());
        purge.take_away(&mut remains);
        self.device = None;
        self.dir = None;
        self.report.ended(&revocation, policy, erased);
        self.report.purged(&purge, revocation.state(policy), Some(revocation.cause), remains.left());
        forget_runtime_files(&self.paths);
        if let Some(companion) = self.companion.take() {
            companion.dismiss();
        }
        let message = self.report.message(&revocation, policy);
        match revocation.cause {
            Cause::Unverified => DaemonError::Stopped(message),
            _ => DaemonError::BecameTerminal(message),
        }
    }
}
