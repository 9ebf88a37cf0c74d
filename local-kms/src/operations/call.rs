//! One call while it is performed: the parts of the server it uses, and the trail it leaves for the audit log.

use jiff::Timestamp;

use crate::audit::Trail;
use crate::error::KmsError;
use crate::key_reference::KeyReference;
use crate::kms::Kms;
use crate::state::{KeyRecord, KeyState, Lookup};

pub(super) struct Call<'a> {
    pub(super) kms: &'a Kms,
    pub(super) now: Timestamp,
    pub(super) trail: Trail,
}

impl Call<'_> {
    /// The key that an id, an ARN, an alias or an alias ARN names.
    pub(super) fn key_or_alias(&mut self, lookup: &impl Lookup, text: &str) -> Result<KeyRecord, KmsError> {
        let account = &self.kms.account;
        let id = match KeyReference::parse(text, account)? {
            KeyReference::Key(id) => id,
            KeyReference::Alias(name) => {
                let alias = lookup.alias(&name)?;
                alias.ok_or_else(|| KmsError::AliasNotFound { arn: account.alias_arn(&name) })?.target
            }
        };
        self.found(lookup.key(id)?.ok_or_else(|| KmsError::KeyNotFound { arn: account.key_arn(id) })?)
    }

    /// The key that an id or an ARN names.
    pub(super) fn key(&mut self, lookup: &impl Lookup, text: &str) -> Result<KeyRecord, KmsError> {
        let id = KeyReference::parse_key(text, &self.kms.account)?;
        let key = lookup.key(id)?;
        self.found(key.ok_or_else(|| KmsError::KeyNotFound { arn: self.kms.account.key_arn(id) })?)
    }

    pub(super) fn found(&mut self, key: KeyRecord) -> Result<KeyRecord, KmsError> {
        self.trail.resources.push(self.arn(&key));
        Ok(key)
    }

    pub(super) fn arn(&self, key: &KeyRecord) -> String {
        self.kms.account.key_arn(key.id)
    }

    /// Key states in which cryptographic operations work: Enabled.
    pub(super) fn require_enabled(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => Err(KmsError::Disabled { arn: self.arn(key) }),
            KeyState::PendingDeletion { .. } => Err(KmsError::PendingDeletion { arn: self.arn(key) }),
        }
    }

    /// Key states in which most management operations work: all but PendingDeletion.
    pub(super) fn require_not_pending_deletion(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            KeyState::Enabled | KeyState::Disabled => Ok(()),
            KeyState::PendingDeletion { .. } => Err(KmsError::PendingDeletion { arn: self.arn(key) }),
        }
    }
}
