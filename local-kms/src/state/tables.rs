//! The tables of the state file.

use redb::TableDefinition;

/// `account`: JSON of the account; `version`: that of the tables, in decimal.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Access key id to user, in version 1.
pub(super) const USERS_OF_VERSION_1: TableDefinition<&str, &[u8]> = TableDefinition::new("users");
/// Name of a principal to principal.
pub(super) const PRINCIPALS: TableDefinition<&str, &[u8]> = TableDefinition::new("principals");
/// Access key id to credential.
pub(super) const CREDENTIALS: TableDefinition<&str, &[u8]> = TableDefinition::new("credentials");
/// Key id to key.
pub(super) const KEYS: TableDefinition<u128, &[u8]> = TableDefinition::new("keys");
/// Key id to the text of its policy.
pub(super) const KEY_POLICIES: TableDefinition<u128, &str> = TableDefinition::new("key_policies");
/// Key id and material id to the material under the root key.
pub(super) const MATERIALS: TableDefinition<(u128, &[u8; 32]), &[u8]> = TableDefinition::new("materials");
/// Whole alias name to alias.
pub(super) const ALIASES: TableDefinition<&str, &[u8]> = TableDefinition::new("aliases");
/// Target key id and whole alias name, for every alias.
pub(super) const ALIASES_OF_KEY: TableDefinition<(u128, &str), ()> = TableDefinition::new("aliases_of_key");
/// Key id and grant id to grant.
pub(super) const GRANTS: TableDefinition<(u128, &[u8; 32]), &[u8]> = TableDefinition::new("grants");
/// Key id, grantee, what the grant wants of an encryption context (`grants::hint`) and grant id, for every grant: a
/// decision reads only those of the caller that may be for this call, of thousands.
pub(super) const GRANTS_OF_GRANTEE: TableDefinition<(u128, &str, u64, &[u8; 32]), ()> =
    TableDefinition::new("grants_of_grantee");
/// Retiring principal, key id and grant id, for every grant that has one.
pub(super) const GRANTS_TO_RETIRE: TableDefinition<(&str, u128, &[u8; 32]), ()> =
    TableDefinition::new("grants_to_retire");
/// Key id to its last use.
pub(super) const LAST_USAGES: TableDefinition<u128, &[u8]> = TableDefinition::new("last_usages");
/// Date (milliseconds since the epoch) and key id of everything that happens to a key by itself (deletion, rotation,
/// expiry of material), so that the next one due is the first entry. A key stands here at most once.
pub(super) const DUE: TableDefinition<(i64, u128), ()> = TableDefinition::new("deletions");
