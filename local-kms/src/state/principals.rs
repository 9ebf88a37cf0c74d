//! The tables of principals and their access keys.

use redb::ReadableTable;

use super::tables::{CREDENTIALS, PRINCIPALS};
use super::transaction::{decode, encode};
use super::{CredentialRecord, PrincipalRecord, Reading, StateError, Writing};
use crate::principals::PrincipalId;

impl Reading {
    pub(crate) fn principals(&self) -> Result<Vec<PrincipalRecord>, StateError> {
        self.0.open_table(PRINCIPALS)?.iter()?.map(|entry| decode(entry?.1.value())).collect()
    }

    pub(crate) fn credentials(&self) -> Result<Vec<CredentialRecord>, StateError> {
        self.0.open_table(CREDENTIALS)?.iter()?.map(|entry| decode(entry?.1.value())).collect()
    }
}

impl Writing {
    pub(crate) fn principal(&self, id: &PrincipalId) -> Result<Option<PrincipalRecord>, StateError> {
        let found = self.0.open_table(PRINCIPALS)?;
        found.get(id.to_string().as_str())?.map(|bytes| decode(bytes.value())).transpose()
    }

    pub(crate) fn put_principal(&self, principal: &PrincipalRecord) -> Result<(), StateError> {
        self.0.open_table(PRINCIPALS)?.insert(principal.id.to_string().as_str(), encode(principal)?.as_slice())?;
        Ok(())
    }

    pub(crate) fn put_credential(&self, credential: &CredentialRecord) -> Result<(), StateError> {
        self.0.open_table(CREDENTIALS)?.insert(credential.access_key_id.as_str(), encode(credential)?.as_slice())?;
        Ok(())
    }

    /// With its access keys.
    pub(crate) fn remove_principal(&self, id: &PrincipalId) -> Result<(), StateError> {
        self.0.open_table(PRINCIPALS)?.remove(id.to_string().as_str())?;
        self.0.open_table(CREDENTIALS)?.retain(|_, credential| {
            // A credential that cannot be read is kept: it is evidence, and opening the state reports the damage.
            decode::<CredentialRecord>(credential).map_or(true, |credential| credential.principal != *id)
        })?;
        Ok(())
    }
}
