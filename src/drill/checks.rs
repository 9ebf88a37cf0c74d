//! What is refused before anything is made: the key is somebody's.

use kms_client::{KeyState, Kms, KmsAdmin, KmsKeyArn, KmsKeyId, ListedGrant};

use super::error::DrillError;
use super::kms::DrillKms;
use super::request::{DrillRequest, Subject};
use super::way::Way;
use super::yours::Yours;
use crate::catalog::{self, Root};
use crate::format::VolumeId;

/// What makes no sense whatever the key is.
pub(super) fn check_request(request: &DrillRequest) -> Result<(), DrillError> {
    let way = request.way;
    let is_yours = matches!(request.subject, Subject::Yours { .. });
    if !rustix::process::geteuid().is_root() {
        return Err(DrillError::Refused("a drill mounts a volume and starts a database: it needs root".to_owned()));
    }
    if way.is_denial() && request.grantee.is_none() && !is_yours {
        return Err(DrillError::Refused(format!(
            "{way} takes away what the volume service alone has, and without --grantee ARN (and --kms-profile NAME with its \
             credentials) the volume is served with your own permissions, which it would not touch"
        )));
    }
    if way == Way::DeleteKeyMaterial && (request.kms_key.is_some() || is_yours) {
        let what = if is_yours { "VOL" } else { "--kms-key" };
        return Err(DrillError::Refused(format!(
            "{way} on a key of yours would be final: envol does not have its material to import it again. Leave {what} \
             away, and the drill makes a key with material of its own"
        )));
    }
    Ok(())
}

/// A way that takes only what the volume service has wants it to have something.
pub(super) fn check_yours(way: Way, yours: &Yours) -> Result<(), DrillError> {
    if way.is_denial() && yours.grantee.is_none() {
        return Err(DrillError::Refused(format!(
            "volume {} has no grant of its own, so that {way} would not touch it. Nothing was changed",
            yours.volume
        )));
    }
    Ok(())
}

/// A key of the user's: who else depends on it would be hit by the drill. The volume `but`, whose drill it is, does not count.
pub(super) fn check_key(
    kms: &DrillKms,
    root: &Root,
    key: &KmsKeyId,
    shared_key: bool,
    but: Option<&VolumeId>,
) -> Result<KmsKeyArn, DrillError> {
    let described = kms.wait(kms.client.describe_key(key))?;
    let arn = described.arn;
    if described.state != KeyState::Enabled || !described.wraps_data_keys {
        let state = described.state;
        return Err(DrillError::Refused(format!(
            "key {arn} is {state}; a drill needs an enabled key for symmetric encryption"
        )));
    }
    if shared_key {
        return Ok(arn);
    }
    let mut grants = kms.wait(kms.client.list_grants(&arn))?;
    grants.retain(|grant| but.is_none_or(|volume| grant.name.as_deref() != Some(volume.as_str())));
    if !grants.is_empty() {
        return Err(DrillError::Refused(format!(
            "key {arn} has {} that the drill did not make: {}. Whoever holds them would lose the key, too. Nothing was \
             changed. Use another key, or say --shared-key",
            if grants.len() == 1 { "a grant".to_owned() } else { format!("{} grants", grants.len()) },
            grants.iter().take(5).map(describe).collect::<Vec<_>>().join(", "),
        )));
    }
    let volumes = catalog::list(root)?;
    let users: Vec<_> = volumes
        .iter()
        .filter(|volume| Some(&volume.volume_id) != but)
        .filter(|volume| volume.kms_key.as_deref() == Some(arn.as_str()) && volume.state != "terminal")
        .map(|volume| volume.volume_id.to_string())
        .collect();
    if !users.is_empty() {
        return Err(DrillError::Refused(format!(
            "key {arn} is that of {}, which would be lost, too. Nothing was changed. Use another key, or say --shared-key",
            users.join(", ")
        )));
    }
    Ok(arn)
}

fn describe(grant: &ListedGrant) -> String {
    let whose = grant.grantee_principal.as_deref().unwrap_or("somebody");
    match &grant.name {
        Some(name) => format!("`{name}` of {whose}"),
        None => format!("{} of {whose}", grant.id),
    }
}
