//! Makes a principal, with an access key if its kind has one.

use std::collections::BTreeMap;
use std::io;

use jiff::Timestamp;

use super::PrincipalId;
use crate::random;
use crate::root_key::{Purpose, RootKey};
use crate::state::{CredentialRecord, PrincipalRecord};

/// A role has no access key: its sessions have.
pub(crate) fn new_principal(
    id: &PrincipalId,
    policies: BTreeMap<String, String>,
    root_key: &RootKey,
) -> io::Result<(PrincipalRecord, Option<CredentialRecord>)> {
    let unique_id = match id {
        PrincipalId::Root { account_id } => account_id.clone(),
        PrincipalId::User { .. } => format!("AIDA{}", random::base32(17)?),
        PrincipalId::Role { .. } => format!("AROA{}", random::base32(17)?),
        PrincipalId::Service { name, .. } => name.clone(),
    };
    let credential = match id {
        PrincipalId::Role { .. } => None,
        _ => Some(new_credential(id, root_key)?),
    };
    let principal =
        PrincipalRecord { id: id.clone(), unique_id, created: Timestamp::now(), policies, trust_policy: None };
    Ok((principal, credential))
}

fn new_credential(id: &PrincipalId, root_key: &RootKey) -> io::Result<CredentialRecord> {
    let access_key_id = format!("AKIA{}", random::base32(16)?);
    let secret = random::secret_access_key()?;
    let purpose = Purpose::UserSecret { access_key_id: &access_key_id };
    Ok(CredentialRecord {
        sealed_secret: root_key.seal(&purpose, secret.as_bytes())?,
        principal: id.clone(),
        access_key_id,
    })
}
