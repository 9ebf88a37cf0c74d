//! Why something could not be done to a volume, told apart by what the caller can do about it.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use kms_client::{Answer, KmsError, KmsKeyArn};

use super::grant::{StandingGrant, VolumeGrant};
use crate::format::{HeaderError, SnapshotId, VolumeId};
use crate::host::HostError;
use crate::secret::{SecretError, UnwrapError};
use crate::snapshot::SnapshotError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// What was asked makes no sense as it stands. Nothing was changed.
    #[error("{0}")]
    Usage(String),

    #[error("there is no volume {id} in {}; `envol list` shows those that are", .root.display())]
    NoSuchVolume { id: VolumeId, root: std::path::PathBuf },

    /// Somebody else holds it; nothing was changed.
    #[error("{0}")]
    Busy(String),

    #[error("{0}")]
    Kms(#[from] KmsError),

    #[error(
        "volume {id} is terminal since {at}: {cause} ({detail}). It stays so when the key comes back: allow the key again, \
         and make a new volume of its newest snapshot, which `envol status {id}` names, or restore the database from a backup"
    )]
    Terminal { id: VolumeId, cause: String, detail: String, at: Timestamp },

    #[error(
        "volume {id} is inaccessible since its key was revoked. Until {until} it can be attached again, once the key is allowed"
    )]
    Recoverable { id: VolumeId, until: Timestamp },

    /// The volume could come back, and the key is not there yet.
    #[error(
        "volume {id} is still inaccessible: {source}. It can be attached again until {until}; after that it is terminal"
    )]
    StillRevoked { id: VolumeId, until: Timestamp, source: Box<CatalogError> },

    /// The header, or something else that must be this volume's, is damaged or another's.
    #[error("volume {id}: {problem}. Nothing was served and nothing was written")]
    NotOurs { id: VolumeId, problem: String },

    #[error(transparent)]
    Forbidden(Box<Forbidden>),

    /// What was begun is taken back, but for the grant.
    #[error("{source}. Nothing came of it, but {standing}")]
    GrantStands { standing: Box<StandingGrant>, source: Box<CatalogError> },

    /// What is made of it stays, and is not listed.
    #[error(
        "{source}. Volume {id} is not whole, and not listed: the same command goes on with it, and `envol delete {id}` removes it"
    )]
    Unfinished { id: VolumeId, source: Box<CatalogError> },

    #[error("the key of volume {id} could not be unwrapped: {source}")]
    Unwrap { id: VolumeId, source: Box<UnwrapError> },

    #[error("the key of snapshot {id} could not be unwrapped: {source}")]
    SnapshotKey { id: SnapshotId, source: Box<UnwrapError> },

    #[error(transparent)]
    Snapshot(#[from] SnapshotError),

    #[error(transparent)]
    Secret(#[from] SecretError),

    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(transparent)]
    Host(#[from] HostError),

    #[error("cannot {action}: {source}")]
    Io { action: String, source: io::Error },
}

/// `AccessDenied`: whoever administers the key has to know which permission to give to whom.
#[derive(Debug, thiserror::Error)]
#[error("{permission} is missing for {who}{of_grant}; see docs/aws.md. KMS said: {source}")]
pub struct Forbidden {
    /// With the key, e.g. `kms:Decrypt on arn:…`.
    pub permission: String,
    pub who: String,
    /// What is to be said of the volume's grant; may be empty.
    pub of_grant: String,
    pub source: KmsError,
}

/// Who is missing a permission when no profile is named.
pub(super) const CREATOR: &str = "whoever runs `envol create`";
pub(super) const REWRAPPER: &str = "whoever runs `envol rewrap`";
pub const ATTACHER: &str = "whoever runs `envol attach`";

impl CatalogError {
    /// A refusal of KMS; a missing permission is called by its name.
    pub(super) fn refused(source: KmsError, key: &str, who: &str, grant: Option<&VolumeGrant>) -> Self {
        if source.answer != Answer::AccessDenied {
            return Self::Kms(source);
        }
        let of_grant = grant.map_or_else(String::new, |VolumeGrant { id, grantee, .. }| {
            format!(" (grant {id} allows it to {grantee} alone, if it still stands and no policy overrules it)")
        });
        let permission = format!("kms:{} on {key}", source.operation);
        Self::Forbidden(Box::new(Forbidden { permission, who: who.to_owned(), of_grant, source }))
    }

    /// The same for `ReEncrypt`, which asks for a permission on either key; AWS's words say which it was.
    pub(super) fn re_encryption_refused(source: KmsError, from: &KmsKeyArn, to: &KmsKeyArn) -> Self {
        if source.answer != Answer::AccessDenied {
            return Self::Kms(source);
        }
        let permission = format!("kms:ReEncryptFrom on {from} or kms:ReEncryptTo on {to}");
        Self::Forbidden(Box::new(Forbidden { permission, who: REWRAPPER.to_owned(), of_grant: String::new(), source }))
    }

    /// The same for the volume key, which `profile` unwraps, or `person` where none is named.
    pub fn unwrapping(
        id: &VolumeId,
        source: UnwrapError,
        key: &KmsKeyArn,
        profile: Option<&str>,
        person: &str,
        grant: Option<&VolumeGrant>,
    ) -> Self {
        match source {
            UnwrapError::Kms(error) if error.answer == Answer::AccessDenied => {
                let who = profile.map_or_else(|| person.to_owned(), |name| format!("the profile `{name}`"));
                Self::refused(error, key.as_str(), &who, grant)
            }
            source => Self::Unwrap { id: id.clone(), source: Box::new(source) },
        }
    }

    /// Of a header that cannot be used, and that may have been kept elsewhere.
    pub(super) fn header(id: &VolumeId, error: &HeaderError) -> Self {
        let problem = format!("{error}; `envol header restore {id} FILE` brings back a header that was backed up");
        Self::NotOurs { id: id.clone(), problem }
    }

    pub fn io(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let action = format!("{verb} {}", path.display());
        move |source| Self::Io { action, source }
    }
}
