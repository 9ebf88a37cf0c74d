//! What the server knows: keys, policies, aliases, grants and principals, in one redb file. Every commit is durable
//! when it returns.

mod grants;
mod identifiers;
mod lag;
mod principals;
mod records;
mod tables;
mod transaction;
mod upgrade;

use std::path::Path;
use std::time::Duration;

use redb::{Database, DatabaseError, ReadableDatabase};

pub(crate) use grants::GrantsFor;
pub(crate) use identifiers::{GrantId, KeyId, MaterialId};
pub use records::{AliasRecord, CredentialRecord, GrantRecord, KeyRecord, LastUsage, PrincipalRecord};
pub(crate) use records::{
    AutomaticRotation, GrantConstraints, ImportRecord, KeyManager, KeyOrigin, KeyState, MaterialMade, MaterialRecord,
    Tag,
};
pub(crate) use redb::Error as StateError;
pub(crate) use transaction::{Lookup, Reading, Writing};

use crate::account::Account;
use lag::Lag;

pub(crate) struct State {
    database: Database,
    lag: Lag,
}

impl State {
    /// A new file with the account and what `fill` puts there; `path` must not exist.
    pub(crate) fn create(
        path: &Path,
        account: &Account,
        fill: impl FnOnce(&Writing) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let state = Self { database: Database::create(path)?, lag: Lag::default() };
        state.write(|writing| {
            writing.create_tables()?;
            writing.put_account(account)?;
            upgrade::mark_current(writing)?;
            fill(writing)
        })
    }

    /// Brings a file of an earlier version up to date. `None` if another process has the file open: one server, or one
    /// `init`, at a time.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StateError> {
        match Database::open(path) {
            Ok(database) => {
                let state = Self { database, lag: Lag::default() };
                upgrade::run(&state)?;
                Ok(Some(state))
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A view of the state as callers may see it: as of now, or as of a while ago while changes are made to travel
    /// slowly.
    pub(crate) fn read(&self) -> Result<Reading, StateError> {
        match self.lag.view() {
            Some(view) => Ok(Reading(view)),
            None => self.read_newest(),
        }
    }

    /// A view of the state as of now.
    pub(crate) fn read_newest(&self) -> Result<Reading, StateError> {
        Ok(Reading(self.database.begin_read()?.into()))
    }

    /// Makes a change alone, and durably, or, when `change` fails, not at all.
    pub(crate) fn write<T, E: From<StateError>>(&self, change: impl FnOnce(&Writing) -> Result<T, E>) -> Result<T, E> {
        let writing = Writing(self.database.begin_write().map_err(StateError::from)?);
        let value = change(&writing)?;
        if self.lag.is_on() {
            self.lag.keep(self.read_newest()?.0);
        }
        writing.0.commit().map_err(StateError::from)?;
        Ok(value)
    }

    pub(crate) fn lag(&self) -> Duration {
        self.lag.duration()
    }

    /// How long a change takes to be seen by [`State::read`]; zero: at once.
    pub(crate) fn set_lag(&self, lag: Duration) {
        self.lag.set(lag);
    }
}
