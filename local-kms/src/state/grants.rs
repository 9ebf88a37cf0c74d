//! The tables of grants. An invariant lives here: each grant stands in `GRANTS_OF_GRANTEE` once, and in
//! `GRANTS_TO_RETIRE` once if somebody may retire it.

use std::ops::Bound::{Excluded, Included, Unbounded};

use redb::ReadableTable;
use sha2::{Digest, Sha256};

use super::tables::{GRANTS, GRANTS_OF_GRANTEE, GRANTS_TO_RETIRE};
use super::transaction::{decode, encode};
use super::{GrantConstraints, GrantId, GrantRecord, KeyId, Reading, StateError, Writing};
use crate::encryption_context::EncryptionContext;

impl Reading {
    /// At most `limit` grants of a key (to `grantee`, if given), in the order of their ids, after `after`.
    pub(crate) fn grants_after(
        &self,
        key: KeyId,
        grantee: Option<&str>,
        after: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<GrantRecord>, StateError> {
        of_key(&self.0.open_table(GRANTS)?, key, grantee, after, limit)
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
        self.0
            .open_table(GRANTS_OF_GRANTEE)?
            .insert((key, grant.grantee.as_str(), hint(&grant.constraints), id), ())?;
        if let Some(retiring) = &grant.retiring {
            self.0.open_table(GRANTS_TO_RETIRE)?.insert((retiring.as_str(), key, id), ())?;
        }
        Ok(())
    }

    pub(crate) fn remove_grant(&self, grant: &GrantRecord) -> Result<(), StateError> {
        let (key, id) = (grant.key.as_u128(), grant.id.as_bytes());
        self.0.open_table(GRANTS)?.remove((key, id))?;
        self.0.open_table(GRANTS_OF_GRANTEE)?.remove((key, grant.grantee.as_str(), hint(&grant.constraints), id))?;
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
        let all = of_key(&self.0.open_table(GRANTS)?, key, None, None, usize::MAX)?;
        all.iter().try_for_each(|grant| self.remove_grant(grant))
    }
}

type Grants = (u128, &'static [u8; 32]);
type GrantsOfGrantee = (u128, &'static str, u64, &'static [u8; 32]);

/// Which of a grantee's grants are looked at.
#[derive(Clone, Copy)]
pub(crate) enum GrantsFor<'a> {
    /// Where constraints have no say.
    Any,
    /// All whose constraints this encryption context may satisfy, and few others.
    Context(&'a EncryptionContext),
}

/// One pair that the encryption context of a call must have for the grant to allow it, or zero if it need have none. It
/// only narrows the search among thousands of grants, each for another volume; the decision looks at all pairs.
fn hint(constraints: &GrantConstraints) -> u64 {
    let wanted = constraints.encryption_context_equals.as_ref().or(constraints.encryption_context_subset.as_ref());
    wanted.and_then(|context| context.0.first_key_value()).map_or(0, hint_of_pair)
}

/// Keys count whatever their case, as in the decision.
fn hint_of_pair((key, value): (&String, &String)) -> u64 {
    let mut digest = Sha256::new_with_prefix(key.to_ascii_lowercase());
    digest.update([0]);
    digest.update(value);
    let digest = digest.finalize();
    u64::from_le_bytes(std::array::from_fn(|at| digest[at])).max(1)
}

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
    grantee: Option<&str>,
    after: Option<GrantId>,
    limit: usize,
) -> Result<Vec<GrantRecord>, StateError> {
    let id = key.as_u128();
    let start = after.as_ref().map_or(Included((id, &[0; 32])), |after| Excluded((id, after.as_bytes())));
    let range = grants.range::<(u128, &[u8; 32])>((start, Included((id, &[255; 32]))))?;
    let all = range.map(|entry| decode::<GrantRecord>(entry?.1.value()));
    let of_grantee = |grant: &Result<GrantRecord, StateError>| match (grant, grantee) {
        (Ok(grant), Some(grantee)) => grant.grantee == grantee,
        _ => true,
    };
    all.filter(of_grantee).take(limit).collect()
}

pub(super) fn of_grantee(
    index: &impl ReadableTable<GrantsOfGrantee, ()>,
    grants: &impl ReadableTable<Grants, &'static [u8]>,
    key: KeyId,
    grantee: &str,
    which: GrantsFor,
) -> Result<Vec<GrantRecord>, StateError> {
    let hints: Vec<(u64, u64)> = match which {
        GrantsFor::Any => vec![(0, u64::MAX)],
        GrantsFor::Context(context) => {
            std::iter::once(0).chain(context.0.iter().map(hint_of_pair)).map(|hint| (hint, hint)).collect()
        }
    };
    let id = key.as_u128();
    let mut found = Vec::new();
    for (first, last) in hints {
        let range = (id, grantee, first, &[0; 32])..=(id, grantee, last, &[255; 32]);
        for entry in index.range::<(u128, &str, u64, &[u8; 32])>(range)? {
            let (entry, _) = entry?;
            found.extend(one(grants, key, GrantId::from_bytes(*entry.value().3))?);
        }
    }
    Ok(found)
}
