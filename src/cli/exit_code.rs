//! The only place that makes an exit code out of an error. The numbers are a promise.

use kms_client::{Answer, KmsError};
#[cfg(feature = "local-kms")]
use local_kms::{InitError, OpenError, ServeError, admin::AdminError};

use crate::catalog::CatalogError;
use crate::daemon::{ControlError, DaemonError};
use crate::drill::DrillError;
use crate::host::HostError;
use crate::secret::UnwrapError;
use crate::snapshot::SnapshotError;
use crate::store::StoreError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExitStatus {
    Unexpected = 1,
    Usage = 2,
    NoSuchThing = 3,
    KmsRefused = 4,
    KmsUnreachable = 5,
    Terminal = 6,
    NotOurs = 7,
    Busy = 8,
    HostLacks = 9,
    /// As shells have it for Ctrl-C.
    Interrupted = 130,
}

impl ExitStatus {
    pub(super) fn of_kms(error: &KmsError) -> Self {
        match error.answer {
            Answer::Unreachable => Self::KmsUnreachable,
            Answer::WrongCiphertext => Self::NotOurs,
            Answer::Disabled
            | Answer::InvalidState
            | Answer::AccessDenied
            | Answer::NotFound
            | Answer::Unauthenticated
            | Answer::Other => Self::KmsRefused,
        }
    }

    pub(super) fn of_host(error: &HostError) -> Self {
        match error {
            HostError::Missing { .. } | HostError::Unsupported { .. } => Self::HostLacks,
            HostError::Busy { .. } => Self::Busy,
            _ => Self::Unexpected,
        }
    }

    pub(super) fn of_catalog(error: &CatalogError) -> Self {
        match error {
            CatalogError::Usage(_) => Self::Usage,
            CatalogError::NoSuchVolume { .. } => Self::NoSuchThing,
            CatalogError::Busy(_) => Self::Busy,
            CatalogError::Kms(error) => Self::of_kms(error),
            CatalogError::Forbidden(forbidden) => Self::of_kms(&forbidden.source),
            CatalogError::GrantStands { source, .. }
            | CatalogError::StillRevoked { source, .. }
            | CatalogError::Unfinished { source, .. } => Self::of_catalog(source),
            CatalogError::Terminal { .. } => Self::Terminal,
            CatalogError::Recoverable { .. } => Self::KmsRefused,
            CatalogError::NotOurs { .. } => Self::NotOurs,
            CatalogError::Host(error) => Self::of_host(error),
            CatalogError::Secret(_) => Self::HostLacks,
            CatalogError::Unwrap { source, .. } => Self::of_unwrap(source),
            CatalogError::SnapshotKey { source, .. } => Self::of_unwrap(source),
            CatalogError::Snapshot(error) => Self::of_snapshot(error),
            CatalogError::Io { .. } => Self::Unexpected,
            CatalogError::Store(error) => Self::of_store(error),
        }
    }

    pub(super) fn of_store(error: &StoreError) -> Self {
        match error {
            StoreError::Busy { .. } | StoreError::NotEmpty { .. } => Self::Busy,
            StoreError::Unsuitable { .. }
            | StoreError::TooSmall { .. }
            | StoreError::FileTooLarge { .. }
            | StoreError::NoDirectIo { .. } => Self::Usage,
            StoreError::NoSpace { .. } | StoreError::Io { .. } => Self::Unexpected,
        }
    }

    pub(super) fn of_snapshot(error: &SnapshotError) -> Self {
        match error {
            SnapshotError::NoSuchSnapshot(_) => Self::NoSuchThing,
            SnapshotError::Damaged { .. } | SnapshotError::NewerFormat { .. } => Self::NotOurs,
            SnapshotError::Refused(_) => Self::Usage,
            SnapshotError::Cancelled => Self::Interrupted,
            SnapshotError::Store { .. }
            | SnapshotError::Full { .. }
            | SnapshotError::Host { .. }
            | SnapshotError::Volume(_) => Self::Unexpected,
        }
    }

    pub(super) fn of_unwrap(error: &UnwrapError) -> Self {
        match error {
            UnwrapError::Kms(error) => Self::of_kms(error),
            UnwrapError::OtherKmsKey { .. } | UnwrapError::NotAVolumeKey { .. } => Self::NotOurs,
            UnwrapError::Secret(_) => Self::HostLacks,
            UnwrapError::Helper(_) => Self::Unexpected,
        }
    }

    pub(super) fn of_daemon(error: &DaemonError) -> Self {
        match error {
            DaemonError::Catalog(error) => Self::of_catalog(error),
            DaemonError::Host(error) => Self::of_host(error),
            DaemonError::HalfGrown { source, .. } => Self::of_daemon(source),
            DaemonError::BecameTerminal(_) => Self::Terminal,
            DaemonError::Stopped(_) => Self::KmsUnreachable,
            DaemonError::Volume(_) | DaemonError::Lost { .. } | DaemonError::Io { .. } => Self::Unexpected,
        }
    }

    pub(super) fn of_drill(error: &DrillError) -> Self {
        match error {
            DrillError::Refused(_) => Self::Usage,
            DrillError::Kms(error) => Self::of_kms(error),
            DrillError::Catalog(error) => Self::of_catalog(error),
            DrillError::Host(error) => Self::of_host(error),
            DrillError::Interrupted => Self::Interrupted,
            DrillError::NotUndone { cause, .. } => Self::of_drill(cause),
            DrillError::Command { .. } | DrillError::Failed(_) | DrillError::Io { .. } => Self::Unexpected,
        }
    }

    #[cfg(feature = "local-kms")]
    pub(super) fn of_kms_init(error: &InitError) -> Self {
        match error {
            InitError::Open(error) => Self::of_kms_open(error),
            InitError::DirNotUtf8 { .. } | InitError::InvalidRegion { .. } | InitError::RegionDiffers { .. } => {
                Self::Usage
            }
            _ => Self::Unexpected,
        }
    }

    #[cfg(feature = "local-kms")]
    pub(super) fn of_kms_serve(error: &ServeError) -> Self {
        match error {
            ServeError::Open(error) => Self::of_kms_open(error),
            ServeError::RemoteListen { .. } => Self::Usage,
            ServeError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => Self::Busy,
            _ => Self::Unexpected,
        }
    }

    #[cfg(feature = "local-kms")]
    pub(super) fn of_kms_admin(error: &AdminError) -> Self {
        match error {
            AdminError::Usage(_) => Self::Usage,
            AdminError::NotFound(_) | AdminError::NotServing { .. } => Self::NoSuchThing,
            AdminError::Open(error) => Self::of_kms_open(error),
            _ => Self::Unexpected,
        }
    }

    #[cfg(feature = "local-kms")]
    pub(super) fn of_kms_open(error: &OpenError) -> Self {
        match error {
            OpenError::NotInitialised { .. } => Self::NoSuchThing,
            OpenError::InUse { .. } => Self::Busy,
            _ => Self::Unexpected,
        }
    }

    pub(super) fn of_control(error: &ControlError) -> Self {
        match error {
            ControlError::NotAttached | ControlError::Ended => Self::NoSuchThing,
            ControlError::AnotherRoot { .. } | ControlError::Silent { .. } => Self::Busy,
            ControlError::AnotherVersion(_) | ControlError::Io(_) => Self::Unexpected,
        }
    }
}
