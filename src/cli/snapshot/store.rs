//! The store that a command means, and how its login gets there.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use kms_client::{Login, Patience, S3Login};

use super::arguments::Store;
use crate::catalog::Root;
use crate::cli::error::CliError;
use crate::cli::exit_code::ExitStatus;
use crate::cli::output::Output;
use crate::daemon::S3Order;
use crate::snapshot::{S3Access, S3Credentials, SnapshotStore, StoreLocation, UploadMarker};

/// Where a store is, and with whose credentials it is reached.
pub(in crate::cli) struct Reach {
    pub(in crate::cli) location: StoreLocation,
    profile: Option<String>,
}

impl Reach {
    pub(in crate::cli) fn of(root: &Root, store: &Store) -> Result<Self, CliError> {
        let location = match &store.store {
            Some(given) => given.parse().map_err(|error| CliError::usage(format!("--store {given}: {error}")))?,
            None => root.snapshots().display().to_string().parse().map_err(CliError::from_snapshot)?,
        };
        Ok(Self { location, profile: store.store_profile.clone() })
    }

    pub(in crate::cli) fn open(&self, bandwidth: Option<NonZeroU64>) -> Result<Arc<SnapshotStore>, CliError> {
        let access = self.order()?.map(|first| self.access(first));
        let store = SnapshotStore::open(&self.location, access.as_ref(), bandwidth);
        Ok(Arc::new(store.map_err(CliError::from_snapshot)?))
    }

    /// For who only looks, or cleans up: makes no directory.
    pub(in crate::cli) fn open_existing(&self) -> Result<Arc<SnapshotStore>, CliError> {
        if self.is_missing() {
            let message = format!("there is no store of snapshots at {}", self.location);
            return Err(CliError::new(ExitStatus::NoSuchThing, message));
        }
        self.open(None)
    }

    /// A directory that nobody has made yet.
    pub(in crate::cli) fn is_missing(&self) -> bool {
        self.location.directory().is_some_and(|directory| !directory.exists())
    }

    /// What the daemon needs to get there. `None` for a directory.
    pub(in crate::cli) fn order(&self) -> Result<Option<S3Order>, CliError> {
        if self.location.directory().is_some() {
            return Ok(None);
        }
        let login = find(self.profile.as_deref()).map_err(|error| CliError::new(ExitStatus::Usage, error))?;
        Ok(Some(S3Order {
            region: login.region.clone(),
            endpoint: login.endpoint.clone(),
            credentials: credentials(&login),
        }))
    }

    fn access(&self, first: S3Order) -> S3Access {
        let profile = self.profile.clone();
        // Whoever gives out credentials is not asked twice for the first ones.
        let known = Mutex::new(Some(first.credentials));
        S3Access {
            region: Some(first.region),
            endpoint: first.endpoint,
            credentials: Arc::new(move || {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner).take();
                known.map_or_else(|| find(profile.as_deref()).map(|login| credentials(&login)), Ok)
            }),
        }
    }
}

/// What the daemon was given to reach a store, for as long as it needs it.
pub(super) struct Lent<'a> {
    reach: &'a Reach,
    pub(super) order: Option<S3Order>,
    renew_at: Option<Timestamp>,
}

/// Earlier than the daemon looks for new ones.
const BEFORE_EXPIRY: SignedDuration = SignedDuration::from_mins(10);

impl<'a> Lent<'a> {
    pub(super) fn of(reach: &'a Reach) -> Result<Self, CliError> {
        let mut lent = Self { reach, order: reach.order()?, renew_at: None };
        lent.schedule();
        Ok(lent)
    }

    /// New credentials, once the old ones are about to expire. What cannot be renewed serves until then, and fails the upload
    /// with S3's own words.
    pub(super) fn renewed(&mut self, output: &Output) -> Option<&S3Order> {
        if self.renew_at.is_none_or(|at| Timestamp::now() < at) {
            return None;
        }
        match self.reach.order() {
            Ok(order) => self.order = order,
            Err(error) => output.warning(&error.message),
        }
        self.schedule();
        self.order.as_ref()
    }

    fn schedule(&mut self) {
        let credentials = self.order.as_ref().map(|order| &order.credentials);
        self.renew_at = credentials.and_then(|credentials| credentials.renew_at(BEFORE_EXPIRY, Timestamp::now()));
    }
}

fn find(profile: Option<&str>) -> Result<S3Login, String> {
    let login = Login { profile: profile.map(str::to_owned), region: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let found = runtime.block_on(S3Login::find(&login, Patience::INTERACTIVE));
    // Where it was looked for, and what to do, is in the message.
    found.map_err(|error| format!("no login for S3: {}", error.message))
}

fn credentials(login: &S3Login) -> S3Credentials {
    S3Credentials {
        access_key_id: login.access_key_id.clone(),
        secret_access_key: login.secret_access_key.to_string(),
        session_token: login.session_token.as_ref().map(|token| token.to_string()),
        expires_at: login.expires_at.and_then(|at| at.try_into().ok()),
    }
}

/// Whether somebody still works on an upload.
pub(in crate::cli) fn is_live(marker: &UploadMarker) -> bool {
    crate::catalog::uploader_is_alive(&marker.uploader).unwrap_or_else(|| marker.is_fresh(Timestamp::now()))
}
