//! Brings the tables of an earlier version up to date, in one step that happens whole or not at all.
//!
//! | version | |
//! | --- | --- |
//! | 1 | users who may do everything; keys and aliases |
//! | 2 | principals with policies, key policies, grants, rotation, imported material |

use redb::{ReadableTable, TableError};
use serde::Deserialize;

use super::tables::{ALIASES, ALIASES_OF_KEY, KEYS, META, USERS_OF_VERSION_1};
use super::transaction::decode;
use super::{
    AliasRecord, CredentialRecord, KeyRecord, MaterialMade, MaterialRecord, PrincipalRecord, State, StateError, Writing,
};
use crate::principals::{ADMINISTRATOR_ACCESS, PrincipalId};

const VERSION: &[u8] = b"2";

#[derive(Deserialize)]
struct UserOfVersion1 {
    name: String,
    principal_id: String,
    access_key_id: String,
    sealed_secret: Vec<u8>,
}

pub(super) fn mark_current(writing: &Writing) -> Result<(), StateError> {
    writing.0.open_table(META)?.insert("version", VERSION)?;
    Ok(())
}

pub(super) fn run(state: &State) -> Result<(), StateError> {
    let reading = state.read_newest()?;
    let version = reading.0.open_table(META)?.get("version")?.map(|version| version.value().to_vec());
    match version.as_deref() {
        Some(VERSION) => Ok(()),
        Some(other) => {
            let other = String::from_utf8_lossy(other).into_owned();
            Err(StateError::Corrupted(format!("it is of version {other}, which a newer envol made; use that one")))
        }
        None => {
            tracing::info!("upgrading the state to version 2");
            state.write(from_version_1)
        }
    }
}

fn from_version_1(writing: &Writing) -> Result<(), StateError> {
    writing.create_tables()?;
    let users: Vec<UserOfVersion1> = match writing.0.open_table(USERS_OF_VERSION_1) {
        Ok(users) => users.iter()?.map(|entry| decode(entry?.1.value())).collect::<Result<_, _>>()?,
        Err(TableError::TableDoesNotExist(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for user in users {
        let id = PrincipalId::user(&user.name);
        writing.put_principal(&PrincipalRecord {
            id: id.clone(),
            unique_id: user.principal_id,
            created: jiff::Timestamp::now(),
            // What every user of version 1 could do; a volume that lives on it must not lose its key by an upgrade.
            policies: [("AdministratorAccess".to_owned(), ADMINISTRATOR_ACCESS.to_owned())].into(),
            trust_policy: None,
        })?;
        writing.put_credential(&CredentialRecord {
            access_key_id: user.access_key_id,
            principal: id,
            sealed_secret: user.sealed_secret,
        })?;
    }
    writing.0.delete_table(USERS_OF_VERSION_1)?;
    let keys: Vec<KeyRecord> =
        writing.0.open_table(KEYS)?.iter()?.map(|entry| decode(entry?.1.value())).collect::<Result<_, _>>()?;
    for mut key in keys {
        let made = MaterialMade::WithTheKey;
        let first = key.material.map(|id| MaterialRecord { id, made, current_since: Some(key.created), import: None });
        key.materials.extend(first);
        writing.put_key(&key)?;
    }
    let mut of_key = writing.0.open_table(ALIASES_OF_KEY)?;
    for entry in writing.0.open_table(ALIASES)?.iter()? {
        let (name, alias) = entry?;
        of_key.insert((decode::<AliasRecord>(alias.value())?.target.as_u128(), name.value()), ())?;
    }
    mark_current(writing)
}
