//! The tables of the state file.

use redb::TableDefinition;

/// One entry, `account`: JSON of the account.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Access key id to user.
pub(super) const USERS: TableDefinition<&str, &[u8]> = TableDefinition::new("users");
/// Key id to key.
pub(super) const KEYS: TableDefinition<u128, &[u8]> = TableDefinition::new("keys");
/// Key id and material id to the material under the root key.
pub(super) const MATERIALS: TableDefinition<(u128, &[u8; 32]), &[u8]> = TableDefinition::new("materials");
/// Whole alias name to alias.
pub(super) const ALIASES: TableDefinition<&str, &[u8]> = TableDefinition::new("aliases");
/// Deletion date (milliseconds since the epoch) and key id of every key in state `PendingDeletion`, so that the next
/// one due is the first entry.
pub(super) const DELETIONS: TableDefinition<(i64, u128), ()> = TableDefinition::new("deletions");
