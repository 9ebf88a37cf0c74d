//! The tables of grants. An invariant lives here: each grant stands in `GRANTS_OF_GRANTEE` once, and in
//! `GRANTS_TO_RETIRE` once if somebody may retire it.

use std::ops::Bound::{Excluded, Included, Unbounded};

use redb::ReadableTable;

use super::tables::{GRANTS, GRANTS_OF_GRANTEE, GRANTS_TO_RETIRE};
use super::transaction::{decode, encode};
use super::{GrantId, GrantRecord, KeyId, Reading, StateError, Writing};

impl Reading {
    /// At most `limit` grants of a key (to `grantee`, if given), in the order of their ids, after `after`.
    pub(crate) fn grants_after(
        &self,
        key: KeyId,
        grantee: Option<&str>,
        after: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRecord>, StateError> {
        let grants = self.0.open_table(GRANTS)?;
        if let Some(grantee) = grantee {
            return of_grantee(&self.0.open_table(GRANTS_OF_GRANTEE)?, &grants, key, grantee, after, limit);
        }
        of_key(&grants, key, after, limit)
    }

    /// At most `limit` grants that `retiring` may retire, of all keys, after that of key and id `after`.
    pub(crate) fn retirable_grants_after(
        &self,
        retiring: &str,
        after: Option<(KeyId, GrantId)>,
        limit: usize,
    ) -> Result<Vec<GrantRecord>, StateError> {
        let grants = self.0.open_table(GRANTS)?;
        let start = match &after {
            Some((key, grant)) => Excluded((retiring, key.as_u128(), grant.as_bytes())),
            None => Included((retiring, 0, &[0; 32])),
        };
        let mut found = Vec::new();
        for entry in self.0.open_table(GRANTS_TO_RETIRE)?.range::<(&str, u128, &[u8; 32])>((start, Unbounded))? {
            let (entry, _) = entry?;
            let (principal, key, grant) = entry.value();
            if principal != retiring || found.len() == limit {
                break;
            }
            found.extend(one(&grants, KeyId::from_u128(key), GrantId::from_bytes(*grant))?);
        }
        Ok(found)
    }
}

impl Writing {
    pub(crate) fn put_grant(&self, grant: &GrantRecord) -> Result<(), StateError> {
        let (key, id) = (grant.key.as_u128(), grant.id.as_bytes());
        self.0.open_table(GRANTS)?.insert((key, id), encode(grant)?.as_slice())?;
        self.0.open_table(GRANTS_OF_GRANTEE)?.insert((key, grant.grantee.as_str(), id), ())?;
        if let Some(retiring) = &grant.retiring {
            self.0.open_table(GRANTS_TO_RETIRE)?.insert((retiring.as_str(), key, id), ())?;
        }
        Ok(())
    }

    pub(crate) fn remove_grant(&self, grant: &GrantRecord) -> Result<(), StateError> {
        let (key, id) = (grant.key.as_u128(), grant.id.as_bytes());
        self.0.open_table(GRANTS)?.remove((key, id))?;
        self.0.open_table(GRANTS_OF_GRANTEE)?.remove((key, grant.grantee.as_str(), id))?;
        if let Some(retiring) = &grant.retiring {
            self.0.open_table(GRANTS_TO_RETIRE)?.remove((retiring.as_str(), key, id))?;
        }
        Ok(())
    }

    pub(crate) fn count_grants(&self, key: KeyId) -> Result<usize, StateError> {
        let grants = self.0.open_table(GRANTS)?;
        Ok(grants.range((key.as_u128(), &[0; 32])..=(key.as_u128(), &[255; 32]))?.count())
    }

    pub(super) fn remove_grants_of_key(&self, key: KeyId) -> Result<(), StateError> {
        let all = of_key(&self.0.open_table(GRANTS)?, key, None, usize::MAX)?;
        all.iter().try_for_each(|grant| self.remove_grant(grant))
    }
}

type Grants = (u128, &'static [u8; 32]);
type GrantsOfGrantee = (u128, &'static str, &'static [u8; 32]);

pub(super) fn one(
    grants: &impl ReadableTable<Grants, &'static [u8]>,
    key: KeyId,
    id: GrantId,
) -> Result<Option<GrantRecord>, StateError> {
    grants.get((key.as_u128(), id.as_bytes()))?.map(|bytes| decode(bytes.value())).transpose()
}

fn of_key(
    grants: &impl ReadableTable<Grants, &'static [u8]>,
    key: KeyId,
    after: Option<GrantId>,
    limit: usize,
) -> Result<Vec<GrantRecord>, StateError> {
    let id = key.as_u128();
    let start = after.as_ref().map_or(Included((id, &[0; 32])), |after| Excluded((id, after.as_bytes())));
    let range = grants.range::<(u128, &[u8; 32])>((start, Included((id, &[255; 32]))))?;
    range.take(limit).map(|entry| decode(entry?.1.value())).collect()
}

pub(super) fn of_grantee(
    index: &impl ReadableTable<GrantsOfGrantee, ()>,
    grants: &impl ReadableTable<Grants, &'static [u8]>,
    key: KeyId,
    grantee: &str,
    after: Option<GrantId>,
    limit: usize,
) -> Result<Vec<GrantRecord>, StateError> {
    let id = key.as_u128();
    let start = match &after {
        Some(after) => Excluded((id, grantee, after.as_bytes())),
        None => Included((id, grantee, &[0; 32])),
    };
    let range = index.range::<(u128, &str, &[u8; 32])>((start, Included((id, grantee, &[255; 32]))))?;
    let mut found = Vec::new();
    for entry in range.take(limit) {
        let (entry, _) = entry?;
        found.extend(one(grants, key, GrantId::from_bytes(*entry.value().2))?);
    }
    Ok(found)
}
