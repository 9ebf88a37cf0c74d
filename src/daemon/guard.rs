//! The guardian of an attached volume: what it asks about, and what its verdict is carried out on. A rewrap stops it and starts
//! another one, for the new key.

use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use kms_client::{Answer, Login};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::attached::{Attached, Shared};
use super::aws_source::AwsSource;
use super::options::AttachOptions;
use super::serve::Event;
use super::terminal;
use crate::catalog::{UnlockedHeader, VolumeGrant, VolumePaths};
use crate::format::RevocationPolicy;
use crate::revocation::{GuardianOptions, Heartbeat, KeyGuardian, Lease, Probes};
use crate::store::Store;
use crate::volume::Volume;

pub(super) struct Guard {
    runtime: Handle,
    shared: Arc<Shared>,
    events: Sender<Event>,
    options: GuardianOptions,
    kms_profile: Option<String>,
    grant: Option<VolumeGrant>,
    probes: Arc<Probes>,
    /// None between two keys, and after the verdict.
    guardian: Option<JoinHandle<()>>,
}

impl Guard {
    pub(super) fn start(
        runtime: &Handle,
        attached: &Attached,
        options: &AttachOptions,
        grant: Option<VolumeGrant>,
        shared: Arc<Shared>,
        events: Sender<Event>,
    ) -> Self {
        let probes = Arc::clone(&shared.probes);
        let heartbeat = Heartbeat {
            probe_interval: options.guardian.probe_interval,
            probes: Arc::clone(&probes),
            lease: Box::new(Watched(Weak::clone(&shared.volume))),
        };
        runtime.spawn(async move { heartbeat.beat().await });
        let mut guard = Self {
            runtime: runtime.clone(),
            shared,
            events,
            options: options.guardian,
            kms_profile: options.kms_profile.clone(),
            grant,
            probes,
            guardian: None,
        };
        guard.watch(attached);
        guard
    }

    /// From now on nobody asks about the key, and nobody ends the volume for it. A verdict that was reached before is carried out
    /// first; whether there was one, the volume knows.
    pub(super) fn pause(&mut self) {
        if let Some(guardian) = self.guardian.take() {
            guardian.abort();
            // Cancelled, or done.
            let _ = self.runtime.block_on(guardian);
        }
    }

    /// The next guardian asks by this grant.
    pub(super) fn go_by(&mut self, grant: Option<VolumeGrant>) {
        let token = grant.as_ref().map(|grant| grant.token.clone());
        *self.shared.subject.grant_token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        self.shared.resizable.go_by(grant.clone());
        self.grant = grant;
    }

    /// Watches the key that the header names, unless there was a verdict already.
    pub(super) fn watch(&mut self, attached: &Attached) {
        if self.shared.revocation.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let header = attached.header();
        let superblock = header.superblock();
        let report = attached.report.clone();
        let guardian = KeyGuardian {
            source: AwsSource {
                login: Login {
                    profile: self.kms_profile.clone(),
                    region: Some(superblock.kms_key.region().to_owned()),
                },
                grant_token: self.grant.as_ref().map(|grant| grant.token.clone()),
            },
            kms_key: superblock.kms_key.clone(),
            canary: superblock.wrapped_canary.clone(),
            canary_context: superblock.database_id.canary_context(&superblock.volume_id),
            options: self.options,
            verification: Arc::clone(&self.shared.verification),
            probes: Arc::clone(&self.probes),
            transitions: Box::new(move |transition| report.transition(&transition)),
        };
        let watch = Watch {
            grant: self.grant.clone(),
            shared: Arc::clone(&self.shared),
            store: Arc::downgrade(&attached.store),
            header: Arc::downgrade(&attached.header),
            policy: superblock.revocation_policy,
            paths: attached.paths.clone(),
            events: self.events.clone(),
        };
        self.guardian = Some(self.runtime.spawn(async move { watch.until_revoked(guardian).await }));
    }
}

/// The volume, as the heartbeat knows it: weak, so that its end does not wait for a task.
struct Watched(Weak<Volume>);

impl Lease for Watched {
    fn extend(&self, duration: Duration) {
        if let Some(volume) = self.0.upgrade() {
            volume.watched_for(duration);
        }
    }
}

/// What the verdict of the guardian is carried out on.
struct Watch {
    grant: Option<VolumeGrant>,
    shared: Arc<Shared>,
    store: Weak<dyn Store>,
    /// Who writes it.
    header: Weak<Mutex<UnlockedHeader>>,
    policy: RevocationPolicy,
    paths: VolumePaths,
    events: Sender<Event>,
}

impl Watch {
    /// From the answer of KMS to a volume without a key, and the record of it on disk, nothing else comes between.
    async fn until_revoked(self, guardian: KeyGuardian<AwsSource>) {
        let mut revocation = guardian.watch().await;
        if let (Some(grant), Answer::AccessDenied) = (&self.grant, revocation.answer.answer) {
            // Before AWS's own words: of those the record on disk holds only the beginning.
            revocation.answer.message = format!("{}: {}", grant.doubt(), revocation.answer.message);
        }
        let (volume, store) = (self.shared.volume.upgrade(), self.store.upgrade());
        let image = store.zip(self.header.upgrade());
        let cut_off = terminal::cut_off(revocation, self.policy, &self.shared, volume.as_deref(), image, &self.paths);
        let _ = self.events.send(Event::Revoked(Box::new(cut_off)));
    }
}
