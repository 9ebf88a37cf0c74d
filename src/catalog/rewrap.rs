//! Moves a volume to another KMS key. Its data is not touched: the volume key stays the same, wrapped anew inside KMS.
//!
//! In this order, so that wherever it is cut short the volume attaches and the same command finishes: what KMS is asked; the new
//! key beside the image, as one that the header may name; the proof that it unwraps; the header; the new key alone beside the
//! image; the grant on the old one retired.

use std::sync::Arc;

use kms_client::{AwsKms, Kms, KmsKeyArn, KmsKeyId, Login, Patience};
use serde::{Deserialize, Serialize};

use super::asynchronously;
use super::binding::{Binding, BoundKey};
use super::changes::open_changes;
use super::error::{CatalogError, REWRAPPER};
use super::header::{UnlockedHeader, read_header};
use super::image::open_unattached;
use super::paths::VolumePaths;
use super::peek::peek;
use super::unwrapping::unwrap;
use super::wrapping::{WrappedKeys, rewrap_keys};
use crate::format::{Headers, Superblock};
use crate::secret::{HeaderMacKey, LockedArea, UnwrapRequest};
use crate::store::Store;

/// What became of it; the names are those of the control socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rewrapped {
    /// `None`: the header named this key already.
    pub from_kms_key: Option<KmsKeyArn>,
    pub kms_key: KmsKeyArn,
    pub key_generation: u64,
    /// Grants on keys that were left, that could not be retired; each with what to do.
    pub standing_grants: Vec<String>,
}

/// One that is under way, of a volume that nobody else changes.
pub struct Rewrap {
    paths: VolumePaths,
    headers: Headers,
    /// `None`: the header names the wanted key already, and what is left of an earlier command is finished.
    keys: Option<WrappedKeys>,
    /// Whose credentials prove the new key, and retire grants.
    profile: Option<String>,
    binding: Binding,
}

/// Of a volume that is not attached. `warn` hears of a header copy that is repaired.
///
/// # Errors
/// Whatever KMS refuses, and a proof that fails, have changed nothing.
pub fn rewrap(
    paths: &VolumePaths,
    to: &KmsKeyId,
    profile: Option<&str>,
    warn: impl FnOnce(&str),
) -> Result<Rewrapped, CatalogError> {
    let store: Arc<dyn Store> = Arc::new(open_unattached(paths)?);
    let header = read_header(&*store, paths)?;
    if let Some(until) = header.recoverable_until() {
        return Err(CatalogError::Recoverable { id: paths.id().clone(), until });
    }
    let keys = ask(paths, header.headers().newest().unproven(), to)?;
    let rewrap = Rewrap::begin(paths, header.headers().clone(), keys, profile)?;
    if rewrap.is_nothing() {
        return rewrap.finish();
    }
    let mac_key = match rewrap.prove() {
        Ok(mac_key) => mac_key,
        Err(error) => return Err(rewrap.give_up(error)),
    };
    let mut header = header.unlock(mac_key, store, warn)?;
    let before = header.superblock().sequence;
    rewrap.apply(&mut header)?;
    if rewrap.moves() {
        follow_header(paths, before, header.superblock());
    }
    rewrap.finish()
}

/// The same for an attached one, whose daemon does the rest: what KMS is asked by whoever runs the command.
pub fn rewrap_in_kms(paths: &VolumePaths, to: &KmsKeyId) -> Result<Option<WrappedKeys>, CatalogError> {
    ask(paths, peek_headers(paths)?.newest().unproven(), to)
}

fn ask(paths: &VolumePaths, header: &Superblock, to: &KmsKeyId) -> Result<Option<WrappedKeys>, CatalogError> {
    let binding = Binding::read(paths)?;
    let bound = binding.as_ref().and_then(|binding| binding.bound(&header.kms_key));
    let grant = bound.and_then(|bound| bound.grant.as_ref());
    rewrap_keys(header, grant.map(|grant| &grant.grantee), to)
}

fn peek_headers(paths: &VolumePaths) -> Result<Headers, CatalogError> {
    let path = paths.backing();
    let peek = peek(&path).map_err(CatalogError::io("read", &path))?;
    peek.headers.map_err(|error| CatalogError::NotOurs { id: paths.id().clone(), problem: error.to_string() })
}

impl Rewrap {
    /// Of a volume that this process serves.
    pub fn begin_attached(
        paths: &VolumePaths,
        keys: Option<WrappedKeys>,
        profile: Option<&str>,
    ) -> Result<Self, CatalogError> {
        Self::begin(paths, peek_headers(paths)?, keys, profile)
    }

    /// Durable on return: from now on the header may name the new key, and its grant is known here.
    fn begin(
        paths: &VolumePaths,
        headers: Headers,
        keys: Option<WrappedKeys>,
        profile: Option<&str>,
    ) -> Result<Self, CatalogError> {
        let header = headers.newest().unproven();
        let by_hand = || Binding::to(header.kms_key.clone(), header.key_generation, None);
        let mut binding = Binding::read(paths)?.unwrap_or_else(by_hand);
        binding.check(paths, &header.kms_key)?;
        if let Some(keys) = &keys {
            binding.begin(BoundKey {
                kms_key: keys.kms_key.clone(),
                key_generation: Some(header.key_generation.saturating_add(1)),
                grant: keys.grant.clone(),
            });
            binding.write(paths.dir())?;
        }
        let profile = profile.map(str::to_owned);
        Ok(Self { paths: paths.clone(), headers, keys, profile, binding })
    }

    /// The header names the wanted key, and nothing is left to be done.
    pub fn is_nothing(&self) -> bool {
        self.keys.is_none() && self.binding.is_settled() && !self.headers.is_behind()
    }

    /// Whether there is something to be written to the header.
    pub fn moves(&self) -> bool {
        self.keys.is_some()
    }

    /// Unwraps volume key and canary as attach and probes will, and proves that it is the key of this volume: under it the
    /// MAC of the header is right.
    pub fn prove(&self) -> Result<HeaderMacKey, CatalogError> {
        let (id, header) = (self.paths.id(), self.headers.newest().unproven());
        let (kms_key, volume_key, canary, grant) = match &self.keys {
            Some(keys) => (&keys.kms_key, &keys.volume_key, &keys.canary, keys.grant.as_ref()),
            None => {
                let bound = self.binding.bound(&header.kms_key);
                let grant = bound.and_then(|bound| bound.grant.as_ref());
                (&header.kms_key, &header.wrapped_volume_key, &header.wrapped_canary, grant)
            }
        };
        let profile = self.profile.as_deref();
        let token = grant.map(|grant| grant.token.clone());
        let request = UnwrapRequest {
            kms_key: kms_key.clone(),
            wrapped: volume_key.clone(),
            context: header.database_id.encryption_context(id),
            profile: self.profile.clone(),
            grant_token: token.clone(),
        };
        let unwrapped = unwrap(id, &LockedArea::new()?, &request, grant, REWRAPPER)?;
        let mac_key = unwrapped.header_mac_key()?;
        drop(unwrapped);
        let verified = self.headers.clone().verify(|covered, mac| mac_key.verify(&[covered], mac));
        verified.map_err(|error| CatalogError::NotOurs {
            id: id.clone(),
            problem: format!("what KMS unwrapped with {kms_key} is not its key: {error}"),
        })?;
        let who = profile.map_or_else(|| REWRAPPER.to_owned(), |name| format!("the profile `{name}`"));
        let login = Login { profile: self.profile.clone(), region: Some(kms_key.region().to_owned()) };
        asynchronously(async {
            let kms = AwsKms::connect(&login, Patience::INTERACTIVE).await?.under_grant(token);
            let probed = kms.decrypt(kms_key, canary, &header.database_id.canary_context(id)).await;
            probed.map(drop).map_err(|error| CatalogError::refused(error, kms_key.as_str(), &who, grant))
        })?;
        Ok(mac_key)
    }

    /// Before the header was changed: everything as it was. `error` is why.
    pub fn give_up(mut self, error: CatalogError) -> CatalogError {
        if self.keys.is_none() {
            return error;
        }
        let header = self.headers.newest().unproven();
        self.binding.settle(&header.kms_key, header.key_generation);
        // The header names the old key, which is bound whatever this write comes to.
        let written = self.binding.write(self.paths.dir());
        let standing = self.binding.retire_left(self.profile.as_deref());
        if let Err(unwritten) = written.and_then(|()| self.binding.write(self.paths.dir())) {
            tracing::warn!("{unwritten}");
        }
        match standing.into_iter().next() {
            Some(standing) => CatalogError::GrantStands { standing: Box::new(standing), source: Box::new(error) },
            None => error,
        }
    }

    /// Has the header name the new key, durably in both copies on return.
    pub fn apply(&self, header: &mut UnlockedHeader) -> Result<(), CatalogError> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let (found, expected) = (header.superblock(), self.headers.newest().unproven());
        let id = self.paths.id();
        if (&found.kms_key, found.key_generation) != (&expected.kms_key, expected.key_generation) {
            return Err(CatalogError::Busy(format!("volume {id} was moved to another key by another command")));
        }
        let action =
            || format!("write the header of volume {id}, which names either key now; the same command finishes it");
        header
            .update(|superblock| {
                superblock.kms_key = keys.kms_key.clone();
                superblock.wrapped_volume_key = keys.volume_key.clone();
                superblock.wrapped_canary = keys.canary.clone();
                superblock.key_generation = superblock.key_generation.saturating_add(1);
            })
            .map_err(|source| CatalogError::Io { action: action(), source })
    }

    /// The grant by which the new key is used.
    pub fn grant(&self) -> Option<&super::VolumeGrant> {
        self.keys.as_ref().and_then(|keys| keys.grant.as_ref())
    }

    /// The header names one key durably: the other one is forgotten, and its grant retired.
    pub fn finish(mut self) -> Result<Rewrapped, CatalogError> {
        let header = self.headers.newest().unproven();
        let (from_kms_key, kms_key, key_generation) = match &self.keys {
            Some(keys) => (Some(&header.kms_key), &keys.kms_key, header.key_generation.saturating_add(1)),
            None => (None, &header.kms_key, header.key_generation),
        };
        let mut standing_grants = Vec::new();
        if !self.binding.is_settled() {
            self.binding.settle(kms_key, key_generation);
            self.binding.write(self.paths.dir())?;
            let standing = self.binding.retire_left(self.profile.as_deref());
            standing_grants.extend(standing.iter().map(ToString::to_string));
            self.binding.write(self.paths.dir())?;
        }
        Ok(Rewrapped { from_kms_key: from_kms_key.cloned(), kms_key: kms_key.clone(), key_generation, standing_grants })
    }
}

/// What is known of changed chunks stays believed. Without it the next snapshot reads everything, and is right all the same.
fn follow_header(paths: &VolumePaths, before: u64, now: &Superblock) {
    let path = paths.changes();
    if !path.exists() {
        return;
    }
    let followed = open_changes(paths, now.geometry, before)
        .and_then(|changes| changes.follow_header(now.sequence).and_then(|()| changes.close()));
    if let Err(error) = followed {
        tracing::warn!("the next snapshot of volume {} will read all of it: {}: {error}", paths.id(), path.display());
    }
}
