//! Reading and changing the tables of keys and aliases. An invariant lives here: `DUE` lists exactly the keys to which
//! something happens by itself, each at the first date at which something does.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use jiff::Timestamp;
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::grants::GrantsFor;
use super::tables::{
    ALIASES, ALIASES_OF_KEY, CREDENTIALS, DUE, GRANTS, GRANTS_OF_GRANTEE, GRANTS_TO_RETIRE, KEY_POLICIES, KEYS,
    LAST_USAGES, MATERIALS, META, PRINCIPALS,
};
use super::{AliasRecord, GrantId, GrantRecord, KeyId, KeyRecord, KeyState, LastUsage, MaterialId, StateError, grants};
use crate::account::Account;

pub(crate) struct Reading(pub(super) Arc<ReadTransaction>);
pub(crate) struct Writing(pub(super) WriteTransaction);

/// What both kinds of transaction can answer: resolving what a caller named, and deciding whether they may.
pub(crate) trait Lookup {
    fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StateError>;
    fn alias(&self, name: &str) -> Result<Option<AliasRecord>, StateError>;
    /// `None`: the key has the default policy.
    fn key_policy(&self, id: KeyId) -> Result<Option<String>, StateError>;
    fn grant(&self, key: KeyId, id: GrantId) -> Result<Option<GrantRecord>, StateError>;
    fn grants_of(&self, key: KeyId, grantee: &str, which: GrantsFor) -> Result<Vec<GrantRecord>, StateError>;
    fn aliases_of(&self, key: KeyId) -> Result<Vec<String>, StateError>;
}

/// The same for both, whose tables have no trait in common that opens them.
macro_rules! lookup {
    ($transaction:ty) => {
        impl Lookup for $transaction {
            fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StateError> {
                self.0.open_table(KEYS)?.get(id.as_u128())?.map(|bytes| decode(bytes.value())).transpose()
            }

            fn alias(&self, name: &str) -> Result<Option<AliasRecord>, StateError> {
                self.0.open_table(ALIASES)?.get(name)?.map(|bytes| decode(bytes.value())).transpose()
            }

            fn key_policy(&self, id: KeyId) -> Result<Option<String>, StateError> {
                Ok(self.0.open_table(KEY_POLICIES)?.get(id.as_u128())?.map(|text| text.value().to_owned()))
            }

            fn grant(&self, key: KeyId, id: GrantId) -> Result<Option<GrantRecord>, StateError> {
                grants::one(&self.0.open_table(GRANTS)?, key, id)
            }

            fn grants_of(&self, key: KeyId, grantee: &str, which: GrantsFor) -> Result<Vec<GrantRecord>, StateError> {
                grants::of_grantee(
                    &self.0.open_table(GRANTS_OF_GRANTEE)?,
                    &self.0.open_table(GRANTS)?,
                    key,
                    grantee,
                    which,
                )
            }

            fn aliases_of(&self, key: KeyId) -> Result<Vec<String>, StateError> {
                aliases_of(&self.0.open_table(ALIASES_OF_KEY)?, key, None, usize::MAX)
            }
        }
    };
}

lookup!(Reading);
lookup!(Writing);

impl Reading {
    pub(crate) fn account(&self) -> Result<Account, StateError> {
        let account = self.0.open_table(META)?.get("account")?;
        account
            .map(|bytes| decode(bytes.value()))
            .transpose()?
            .ok_or_else(|| StateError::Corrupted("no account".into()))
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
        let aliases = self.0.open_table(ALIASES)?;
        if let Some(target) = target {
            let names = aliases_of(&self.0.open_table(ALIASES_OF_KEY)?, target, after, limit)?;
            let with_record = |name: String| {
                let alias = aliases.get(name.as_str())?.map(|bytes| decode(bytes.value())).transpose()?;
                Ok(alias.map(|alias| (name, alias)))
            };
            return names.into_iter().filter_map(|name| with_record(name).transpose()).collect();
        }
        let after = after.map_or(Unbounded, Excluded);
        let range = aliases.range::<&str>((after, Unbounded))?.take(limit);
        range
            .map(|entry| {
                let (name, alias) = entry?;
                Ok((name.value().to_owned(), decode::<AliasRecord>(alias.value())?))
            })
            .collect()
    }

    pub(crate) fn last_usage(&self, key: KeyId) -> Result<Option<LastUsage>, StateError> {
        self.0.open_table(LAST_USAGES)?.get(key.as_u128())?.map(|bytes| decode(bytes.value())).transpose()
    }

    /// Whether something is to happen to a key by itself.
    pub(crate) fn anything_due(&self, now: Timestamp) -> Result<bool, StateError> {
        let due = self.0.open_table(DUE)?;
        Ok(due.first()?.is_some_and(|(entry, _)| entry.value().0 <= now.as_millisecond()))
    }
}

impl Writing {
    /// So that readers of a new file find every table.
    pub(super) fn create_tables(&self) -> Result<(), StateError> {
        self.0.open_table(META)?;
        self.0.open_table(PRINCIPALS)?;
        self.0.open_table(CREDENTIALS)?;
        self.0.open_table(KEYS)?;
        self.0.open_table(KEY_POLICIES)?;
        self.0.open_table(MATERIALS)?;
        self.0.open_table(ALIASES)?;
        self.0.open_table(ALIASES_OF_KEY)?;
        self.0.open_table(GRANTS)?;
        self.0.open_table(GRANTS_OF_GRANTEE)?;
        self.0.open_table(GRANTS_TO_RETIRE)?;
        self.0.open_table(LAST_USAGES)?;
        self.0.open_table(DUE)?;
        Ok(())
    }

    pub(super) fn put_account(&self, account: &Account) -> Result<(), StateError> {
        self.0.open_table(META)?.insert("account", encode(account)?.as_slice())?;
        Ok(())
    }

    pub(crate) fn put_key(&self, key: &KeyRecord) -> Result<(), StateError> {
        let before = self
            .0
            .open_table(KEYS)?
            .insert(key.id.as_u128(), encode(key)?.as_slice())?
            .map(|bytes| decode(bytes.value()));
        let mut due = self.0.open_table(DUE)?;
        if let Some(date) = before.transpose()?.as_ref().and_then(next_due) {
            due.remove((date.as_millisecond(), key.id.as_u128()))?;
        }
        if let Some(date) = next_due(key) {
            due.insert((date.as_millisecond(), key.id.as_u128()), ())?;
        }
        Ok(())
    }

    /// The keys to which something is to happen by `now`.
    pub(crate) fn due_keys(&self, now: Timestamp) -> Result<Vec<KeyId>, StateError> {
        let due = self.0.open_table(DUE)?;
        due.range(..=(now.as_millisecond(), u128::MAX))?.map(|entry| Ok(KeyId::from_u128(entry?.0.value().1))).collect()
    }

    pub(crate) fn put_key_policy(&self, key: KeyId, policy: &str) -> Result<(), StateError> {
        self.0.open_table(KEY_POLICIES)?.insert(key.as_u128(), policy)?;
        Ok(())
    }

    pub(crate) fn put_material(&self, key: KeyId, material: MaterialId, sealed: &[u8]) -> Result<(), StateError> {
        self.0.open_table(MATERIALS)?.insert((key.as_u128(), material.as_bytes()), sealed)?;
        Ok(())
    }

    /// Nothing reads the material again; its sealed bytes may lie in free pages of the file until redb uses them for
    /// others.
    pub(crate) fn remove_material(&self, key: KeyId, material: MaterialId) -> Result<(), StateError> {
        self.0.open_table(MATERIALS)?.remove((key.as_u128(), material.as_bytes()))?;
        Ok(())
    }

    pub(crate) fn put_alias(&self, name: &str, alias: &AliasRecord) -> Result<(), StateError> {
        self.remove_alias(name)?;
        self.0.open_table(ALIASES)?.insert(name, encode(alias)?.as_slice())?;
        self.0.open_table(ALIASES_OF_KEY)?.insert((alias.target.as_u128(), name), ())?;
        Ok(())
    }

    pub(crate) fn remove_alias(&self, name: &str) -> Result<(), StateError> {
        if let Some(alias) = self.alias(name)? {
            self.0.open_table(ALIASES_OF_KEY)?.remove((alias.target.as_u128(), name))?;
            self.0.open_table(ALIASES)?.remove(name)?;
        }
        Ok(())
    }

    pub(crate) fn put_last_usage(&self, key: KeyId, usage: &LastUsage) -> Result<(), StateError> {
        self.0.open_table(LAST_USAGES)?.insert(key.as_u128(), encode(usage)?.as_slice())?;
        Ok(())
    }

    /// Removes a key with everything that belongs to it: material, policy, aliases, grants.
    pub(crate) fn remove_key(&self, key: &KeyRecord) -> Result<(), StateError> {
        let id = key.id.as_u128();
        if let Some(date) = next_due(key) {
            self.0.open_table(DUE)?.remove((date.as_millisecond(), id))?;
        }
        self.0.open_table(KEYS)?.remove(id)?;
        self.0.open_table(KEY_POLICIES)?.remove(id)?;
        self.0.open_table(LAST_USAGES)?.remove(id)?;
        let all_materials = (id, &[0; 32])..=(id, &[255; 32]);
        self.0.open_table(MATERIALS)?.retain_in(all_materials, |_, _| false)?;
        for name in self.aliases_of(key.id)? {
            self.remove_alias(&name)?;
        }
        self.remove_grants_of_key(key.id)
    }
}

fn aliases_of(
    table: &impl ReadableTable<(u128, &'static str), ()>,
    key: KeyId,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<String>, StateError> {
    let id = key.as_u128();
    let start = after.map_or(std::ops::Bound::Included((id, "")), |name| Excluded((id, name)));
    let mut names = Vec::new();
    for entry in table.range::<(u128, &str)>((start, Unbounded))? {
        let (entry, _) = entry?;
        let (target, name) = entry.value();
        if target != id || names.len() == limit {
            break;
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

/// When the first thing happens to the key by itself: it is deleted, rotated, or material of it expires.
fn next_due(key: &KeyRecord) -> Option<Timestamp> {
    if let KeyState::PendingDeletion { deletion_date } = key.state {
        // Nothing else happens to a key that waits for its end; expired material is of no use either way.
        return Some(deletion_date);
    }
    let expiries =
        key.materials.iter().filter_map(|material| material.import.as_ref().filter(|import| import.present)?.expires);
    // A disabled key is not rotated; the rotation is made up for when it is enabled.
    let rotation = key.rotation.filter(|_| key.state == KeyState::Enabled).map(|rotation| rotation.next);
    expiries.chain(rotation).min()
}

pub(super) fn encode(record: &impl Serialize) -> Result<Vec<u8>, StateError> {
    serde_json::to_vec(record).map_err(|error| StateError::Corrupted(error.to_string()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateError> {
    serde_json::from_slice(bytes).map_err(|error| StateError::Corrupted(error.to_string()))
}
