//! Reading and changing the tables. An invariant lives here: `DELETIONS` lists exactly the keys pending deletion.

use std::ops::Bound::{Excluded, Unbounded};

use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::tables::{ALIASES, DELETIONS, KEYS, MATERIALS, META, USERS};
use super::{AliasRecord, KeyId, KeyRecord, KeyState, MaterialId, StateError, UserRecord};
use crate::account::Account;

pub(crate) struct Reading(pub(super) ReadTransaction);
pub(crate) struct Writing(pub(super) WriteTransaction);

/// What both kinds of transaction can answer: resolving what a caller named.
pub(crate) trait Lookup {
    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StateError>;
    fn alias(&self, name: &str) -> Result<Option<AliasRecord>, StateError>;
}

impl Lookup for Reading {
    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StateError> {
        key_in(&self.0.open_table(KEYS)?, id)
    }

    fn alias(&self, name: &str) -> Result<Option<AliasRecord>, StateError> {
        alias_in(&self.0.open_table(ALIASES)?, name)
    }
}

impl Lookup for Writing {
    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StateError> {
        key_in(&self.0.open_table(KEYS)?, id)
    }

    fn alias(&self, name: &str) -> Result<Option<AliasRecord>, StateError> {
        alias_in(&self.0.open_table(ALIASES)?, name)
    }
}

impl Reading {
    pub(crate) fn account(&self) -> Result<Account, StateError> {
        let account = self.0.open_table(META)?.get("account")?;
        account
            .map(|bytes| decode(bytes.value()))
            .transpose()?
            .ok_or_else(|| StateError::Corrupted("no account".into()))
    }

    pub(crate) fn users(&self) -> Result<Vec<UserRecord>, StateError> {
        self.0.open_table(USERS)?.iter()?.map(|entry| decode(entry?.1.value())).collect()
    }

    /// Sealed under the root key.
    pub(crate) fn material(&self, key: KeyId, material: MaterialId) -> Result<Option<Vec<u8>>, StateError> {
        let sealed = self.0.open_table(MATERIALS)?.get((key.as_u128(), material.as_bytes()))?;
        Ok(sealed.map(|sealed| sealed.value().to_vec()))
    }

    /// At most `limit` keys, in the order of their ids, after `after`.
    pub(crate) fn keys_after(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<KeyId>, StateError> {
        let after = after.map_or(Unbounded, |id| Excluded(id.as_u128()));
        let keys = self.0.open_table(KEYS)?;
        keys.range::<u128>((after, Unbounded))?
            .take(limit)
            .map(|entry| Ok(KeyId::from_u128(entry?.0.value())))
            .collect()
    }

    /// At most `limit` aliases (of `target`, if given), in the order of their names, after `after`.
    pub(crate) fn aliases_after(
        &self,
        after: Option<&str>,
        target: Option<KeyId>,
        limit: usize,
    ) -> Result<Vec<(String, AliasRecord)>, StateError> {
        let after = after.map_or(Unbounded, Excluded);
        let aliases = self.0.open_table(ALIASES)?;
        aliases
            .range::<&str>((after, Unbounded))?
            .map(|entry| {
                let (name, alias) = entry?;
                Ok((name.value().to_owned(), decode::<AliasRecord>(alias.value())?))
            })
            .filter(|entry| match (entry, target) {
                (Ok((_, alias)), Some(target)) => alias.target == target,
                _ => true,
            })
            .take(limit)
            .collect()
    }

    /// Whether a key's deletion date has passed.
    pub(crate) fn deletion_due(&self, now: Timestamp) -> Result<bool, StateError> {
        let deletions = self.0.open_table(DELETIONS)?;
        Ok(deletions.first()?.is_some_and(|(entry, _)| entry.value().0 <= now.as_millisecond()))
    }
}

impl Writing {
    /// So that readers of a new file find every table.
    pub(super) fn create_tables(&self) -> Result<(), StateError> {
        self.0.open_table(META)?;
        self.0.open_table(USERS)?;
        self.0.open_table(KEYS)?;
        self.0.open_table(MATERIALS)?;
        self.0.open_table(ALIASES)?;
        self.0.open_table(DELETIONS)?;
        Ok(())
    }

    pub(super) fn put_account(&self, account: &Account) -> Result<(), StateError> {
        self.0.open_table(META)?.insert("account", encode(account)?.as_slice())?;
        Ok(())
    }

    pub(super) fn put_user(&self, user: &UserRecord) -> Result<(), StateError> {
        self.0.open_table(USERS)?.insert(user.access_key_id.as_str(), encode(user)?.as_slice())?;
        Ok(())
    }

    pub(crate) fn put_key(&self, key: &KeyRecord) -> Result<(), StateError> {
        let before = self
            .0
            .open_table(KEYS)?
            .insert(key.id.as_u128(), encode(key)?.as_slice())?
            .map(|bytes| decode(bytes.value()));
        let mut deletions = self.0.open_table(DELETIONS)?;
        if let Some(date) = before.transpose()?.as_ref().and_then(deletion_date) {
            deletions.remove((date.as_millisecond(), key.id.as_u128()))?;
        }
        if let Some(date) = deletion_date(key) {
            deletions.insert((date.as_millisecond(), key.id.as_u128()), ())?;
        }
        Ok(())
    }

    pub(crate) fn put_material(&self, key: KeyId, material: MaterialId, sealed: &[u8]) -> Result<(), StateError> {
        self.0.open_table(MATERIALS)?.insert((key.as_u128(), material.as_bytes()), sealed)?;
        Ok(())
    }

    pub(crate) fn put_alias(&self, name: &str, alias: &AliasRecord) -> Result<(), StateError> {
        self.0.open_table(ALIASES)?.insert(name, encode(alias)?.as_slice())?;
        Ok(())
    }

    pub(crate) fn remove_alias(&self, name: &str) -> Result<(), StateError> {
        self.0.open_table(ALIASES)?.remove(name)?;
        Ok(())
    }

    pub(crate) fn count_aliases(&self, target: KeyId) -> Result<usize, StateError> {
        let mut count = 0;
        for entry in self.0.open_table(ALIASES)?.iter()? {
            count += usize::from(decode::<AliasRecord>(entry?.1.value())?.target == target);
        }
        Ok(count)
    }

    /// Removes the keys whose deletion date has passed, with their material and aliases, and says which. Nothing here
    /// reads the material again; its sealed bytes may lie in free pages of the file until redb uses them for others.
    pub(crate) fn remove_due_keys(&self, now: Timestamp) -> Result<Vec<KeyId>, StateError> {
        let mut removed = Vec::new();
        let mut deletions = self.0.open_table(DELETIONS)?;
        loop {
            let Some((date, id)) = deletions.first()?.map(|(entry, _)| entry.value()) else {
                break;
            };
            if date > now.as_millisecond() {
                break;
            }
            deletions.remove((date, id))?;
            self.0.open_table(KEYS)?.remove(id)?;
            let all_materials = (id, &[0; 32])..=(id, &[255; 32]);
            self.0.open_table(MATERIALS)?.retain_in(all_materials, |_, _| false)?;
            removed.push(KeyId::from_u128(id));
        }
        drop(deletions);
        if !removed.is_empty() {
            self.0.open_table(ALIASES)?.retain(|_, alias| {
                // An alias that cannot be read is kept: it is evidence, and resolving it reports the damage.
                decode::<AliasRecord>(alias).map_or(true, |alias| !removed.contains(&alias.target))
            })?;
        }
        Ok(removed)
    }
}

fn key_in(keys: &impl ReadableTable<u128, &'static [u8]>, id: KeyId) -> Result<Option<KeyRecord>, StateError> {
    keys.get(id.as_u128())?.map(|bytes| decode(bytes.value())).transpose()
}

fn alias_in(
    aliases: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<AliasRecord>, StateError> {
    aliases.get(name)?.map(|bytes| decode(bytes.value())).transpose()
}

fn deletion_date(key: &KeyRecord) -> Option<Timestamp> {
    match key.state {
        KeyState::PendingDeletion { deletion_date } => Some(deletion_date),
        KeyState::Enabled | KeyState::Disabled => None,
    }
}

fn encode(record: &impl Serialize) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(record).map_err(|error| StateError::Corrupted(error.to_string()))
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    serde_json::from_slice(bytes).map_err(|error| StateError::Corrupted(error.to_string()))
}
