//! The key of a volume that is there, from KMS, and what a refusal means for the volume.

use std::sync::Arc;

use kms_client::Answer;

use super::error::CatalogError;
use super::grant::VolumeGrant;
use super::header::ReadHeader;
use crate::format::VolumeId;
use crate::secret::{LockedArea, UnwrapError, UnwrapRequest, VolumeKey, unwrap_volume_key};

/// Has KMS unwrap into `area` what the header of the volume holds. `person` is who asks where no profile is named.
pub fn unwrap(
    id: &VolumeId,
    area: &Arc<LockedArea>,
    request: &UnwrapRequest,
    grant: Option<&VolumeGrant>,
    person: &str,
) -> Result<VolumeKey, CatalogError> {
    let not_ours = |problem: String| CatalogError::NotOurs { id: id.clone(), problem };
    unwrap_volume_key(area, request).map_err(|error| match error {
        // The wrapped key is not of this KMS key and context: the header was edited, or is another volume's.
        UnwrapError::Kms(answer) if answer.answer == Answer::WrongCiphertext => not_ours(format!(
            "KMS does not recognise the wrapped key in its header for this volume and database ({answer})"
        )),
        error @ (UnwrapError::OtherKmsKey { .. } | UnwrapError::NotAVolumeKey { .. }) => not_ours(error.to_string()),
        source => CatalogError::unwrapping(id, source, &request.kms_key, request.profile.as_deref(), person, grant),
    })
}

impl ReadHeader {
    /// The volume key, as `profile` or the caller may unwrap it, by the grant if there is one.
    pub fn unwrap(
        &self,
        area: &Arc<LockedArea>,
        profile: Option<&str>,
        person: &str,
    ) -> Result<VolumeKey, CatalogError> {
        let request = UnwrapRequest {
            kms_key: self.kms_key().clone(),
            wrapped: self.wrapped_volume_key().clone(),
            context: self.encryption_context(),
            profile: profile.map(str::to_owned),
            grant_token: self.grant().map(|grant| grant.token.clone()),
        };
        unwrap(self.id(), area, &request, self.grant(), person)
    }
}
