//! What the server knows: keys, aliases and users, in one redb file. Every commit is durable when it returns.

mod identifiers;
mod records;
mod tables;
mod transaction;

use std::path::Path;

use redb::{Database, DatabaseError, ReadableDatabase};

pub(crate) use identifiers::{KeyId, MaterialId};
pub(crate) use records::{AliasRecord, KeyRecord, KeyState, Tag, UserRecord};
pub(crate) use redb::Error as StateError;
pub(crate) use transaction::{Lookup, Reading, Writing};

use crate::account::Account;

pub(crate) struct State(Database);

impl State {
    /// A new file with the account and its users; `path` must not exist.
    pub(crate) fn create(path: &Path, account: &Account, users: &[UserRecord]) -> Result<(), StateError> {
        let state = Self(Database::create(path)?);
        state.write(|writing| {
            writing.create_tables()?;
            writing.put_account(account)?;
            users.iter().try_for_each(|user| writing.put_user(user))
        })
    }

    /// `None` if another process has the file open: one server, or one `init`, at a time.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, StateError> {
        match Database::open(path) {
            Ok(database) => Ok(Some(Self(database))),
            Err(DatabaseError::DatabaseAlreadyOpen) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A view of the state as of now.
    pub(crate) fn read(&self) -> Result<Reading, StateError> {
        Ok(Reading(self.0.begin_read()?))
    }

    /// Makes a change alone, and durably, or, when `change` fails, not at all.
    pub(crate) fn write<T, E: From<StateError>>(&self, change: impl FnOnce(&Writing) -> Result<T, E>) -> Result<T, E> {
        let writing = Writing(self.0.begin_write().map_err(StateError::from)?);
        let value = change(&writing)?;
        writing.0.commit().map_err(StateError::from)?;
        Ok(value)
    }
}
