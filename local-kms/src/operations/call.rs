//! One call while it is performed: who calls, what decides whether they may, and the trail it leaves for the audit log.

use jiff::Timestamp;

use super::grant_tokens::GrantTokens;
use crate::audit::{Origin, Trail};
use crate::authorization::{Child, Decision, Denial, Question, ResourceRules, decide, grants_for};
use crate::encryption_context::EncryptionContext;
use crate::error::KmsError;
use crate::key_policy::default_policy;
use crate::key_reference::KeyReference;
use crate::kms::Kms;
use crate::policy::{Context, Policy, PolicyKind};
use crate::principals::{Caller, PrincipalId};
use crate::state::{GrantRecord, GrantsFor, KeyId, KeyOrigin, KeyRecord, KeyState, Lookup, StateError};

pub(crate) struct Call<'a> {
    pub(super) kms: &'a Kms,
    pub(super) caller: &'a Caller,
    /// The name of the operation, and of the permission unless a part of the operation has one of its own.
    pub(super) operation: &'static str,
    pub(super) now: Timestamp,
    pub(super) trail: Trail,
    /// Keys that encrypted or decrypted something.
    pub(super) used: Vec<KeyId>,
    /// Condition keys that the request decides.
    pub(super) facts: Context,
    pub(super) encryption_context: EncryptionContext,
    pub(super) child: Option<Child>,
    /// Grants that the caller knows of before everybody else does.
    tokens: Vec<GrantRecord>,
}

impl<'a> Call<'a> {
    pub(super) fn new(kms: &'a Kms, origin: &Origin<'a>, operation: &'static str, now: Timestamp) -> Self {
        let mut facts = Context::default();
        origin.describe(&mut facts);
        Self {
            kms,
            caller: origin.caller,
            operation,
            now,
            trail: Trail::default(),
            used: Vec::new(),
            facts,
            encryption_context: EncryptionContext::default(),
            child: None,
            tokens: Vec::new(),
        }
    }

    /// Must come before a key is asked for.
    pub(super) fn present(&mut self, tokens: &GrantTokens) -> Result<(), KmsError> {
        self.tokens = tokens.open(self.kms)?;
        Ok(())
    }

    /// Must come before a key is asked for. Policies and grants do not tell the case of a context's keys, so a context
    /// whose keys differ in nothing else could be taken for either.
    pub(super) fn set_encryption_context(&mut self, context: Option<&EncryptionContext>) -> Result<(), KmsError> {
        self.encryption_context = context.cloned().unwrap_or_default();
        if self.encryption_context.has_keys_that_differ_by_case_only() {
            return Err(KmsError::Validation("The keys of the encryption context differ by case only.".to_owned()));
        }
        Ok(())
    }

    /// The key that an id, an ARN, an alias or an alias ARN names, if the caller may do this to it.
    pub(super) fn key_or_alias(&mut self, lookup: &impl Lookup, text: &str) -> Result<KeyRecord, KmsError> {
        self.key_or_alias_for(lookup, text, self.operation)
    }

    /// The same for a part of an operation that has a permission of its own.
    pub(super) fn key_or_alias_for(
        &mut self,
        lookup: &impl Lookup,
        text: &str,
        action: &str,
    ) -> Result<KeyRecord, KmsError> {
        let account = &self.kms.account;
        // Of this key, not of one that the call named before.
        self.facts.remove("kms:RequestAlias");
        let id = match self.reference(text)? {
            KeyReference::Key(id) => id,
            KeyReference::Alias(name) => {
                let found = lookup.alias(&name)?.map(|alias| alias.target);
                let found = found.ok_or_else(|| KmsError::AliasNotFound { arn: account.alias_arn(&name) })?;
                self.facts.insert("kms:RequestAlias", name);
                found
            }
        };
        let key = lookup.key(id)?.ok_or_else(|| KmsError::KeyNotFound { arn: account.key_arn(id) })?;
        self.permitted(lookup, key, action)
    }

    /// The key that an id or an ARN names, if the caller may do this to it.
    pub(super) fn key(&mut self, lookup: &impl Lookup, text: &str) -> Result<KeyRecord, KmsError> {
        let id = match self.reference(text)? {
            KeyReference::Key(id) => id,
            KeyReference::Alias(_) => return Err(KmsError::InvalidKeyId(text.to_owned())),
        };
        let key = lookup.key(id)?;
        let key = key.ok_or_else(|| KmsError::KeyNotFound { arn: self.kms.account.key_arn(id) })?;
        self.permitted(lookup, key, self.operation)
    }

    /// The key that an id or an ARN names; whether the caller may know of it is decided elsewhere.
    pub(super) fn existing(&self, lookup: &impl Lookup, text: &str) -> Result<KeyId, KmsError> {
        match self.reference(text)? {
            KeyReference::Key(id) if lookup.key(id)?.is_some() => Ok(id),
            KeyReference::Key(id) => Err(KmsError::KeyNotFound { arn: self.kms.account.key_arn(id) }),
            KeyReference::Alias(_) => Err(KmsError::InvalidKeyId(text.to_owned())),
        }
    }

    /// Ids and aliases are of the caller's own account; a key of another one is named by its ARN.
    fn reference(&self, text: &str) -> Result<KeyReference, KmsError> {
        let reference = KeyReference::parse(text, &self.kms.account)?;
        if self.caller.account_id() == self.kms.account.account_id || text.starts_with("arn:") {
            return Ok(reference);
        }
        Err(KmsError::KeyNotFound {
            arn: format!("arn:aws:kms:{}:{}:key/{text}", self.kms.account.region, self.caller.account_id()),
        })
    }

    /// `key`, if the caller has the permission `action` on it.
    pub(super) fn permitted(
        &mut self,
        lookup: &impl Lookup,
        key: KeyRecord,
        action: &str,
    ) -> Result<KeyRecord, KmsError> {
        match self.decision(lookup, &key, action)? {
            Decision::Allowed(_) => Ok(key),
            Decision::Denied(denial) => Err(self.denied(action, &self.arn(&key), denial)),
        }
    }

    fn decision(&mut self, lookup: &impl Lookup, key: &KeyRecord, action: &str) -> Result<Decision, KmsError> {
        let arn = self.arn(key);
        if !self.trail.resources.contains(&arn) {
            self.trail.resources.push(arn.clone());
        }
        let rules = self.rules(lookup, key, action)?;
        let mut context = self.facts.clone();
        self.caller.describe(&mut context);
        describe_key(key, lookup, &mut context)?;
        describe_encryption_context(&self.encryption_context, &mut context);
        Ok(self.ask(action, &arn, &context, Some(&rules)))
    }

    /// For operations, and parts of them, that concern no key: `resource` is `*`, or the ARN of an alias.
    pub(super) fn permit(&mut self, resource: &str) -> Result<(), KmsError> {
        let mut context = self.facts.clone();
        self.caller.describe(&mut context);
        match self.ask(self.operation, resource, &context, None) {
            Decision::Allowed(_) => Ok(()),
            Decision::Denied(denial) => Err(self.denied(self.operation, resource, denial)),
        }
    }

    fn ask(&self, action: &str, resource: &str, context: &Context, rules: Option<&ResourceRules>) -> Decision {
        let question = Question {
            account_id: &self.kms.account.account_id,
            caller: self.caller,
            action: &permission(action),
            resource,
            context,
            encryption_context: &self.encryption_context,
            child: self.child.as_ref(),
        };
        decide(&question, rules).decision
    }

    fn denied(&self, action: &str, resource: &str, denial: Denial) -> KmsError {
        let action = permission(action);
        let reason = denial.reason(&action);
        KmsError::AccessDenied { caller: self.caller.arn(), action, resource: resource.to_owned(), reason }
    }

    /// Whether the caller would lack the permission `action` if the key had other rules.
    pub(super) fn would_be_denied(
        &self,
        lookup: &impl Lookup,
        rules: &ResourceRules,
        action: &str,
        key: &KeyRecord,
    ) -> Result<bool, KmsError> {
        let mut context = self.facts.clone();
        self.caller.describe(&mut context);
        describe_key(key, lookup, &mut context)?;
        Ok(matches!(self.ask(action, &self.arn(key), &context, Some(rules)), Decision::Denied(_)))
    }

    /// The right to retire comes from the grant, whatever policies allow; but what they deny stays denied.
    pub(super) fn may_retire(
        &mut self,
        lookup: &impl Lookup,
        key: &KeyRecord,
        grant: &GrantRecord,
    ) -> Result<(), KmsError> {
        let names = self.caller.names();
        let is_issuer = *self.caller.id() == PrincipalId::Root { account_id: grant.issuing_account_id.clone() };
        let named =
            |principal: &String| names.contains(principal) || self.caller.via_service.as_ref() == Some(principal);
        let may = grant.retiring.as_ref().is_some_and(named)
            || (named(&grant.grantee) && grant.operations.iter().any(|operation| operation == "RetireGrant"))
            || is_issuer;
        match self.decision(lookup, key, self.operation)? {
            Decision::Denied(denial @ Denial::Explicit(_)) => Err(self.denied(self.operation, &self.arn(key), denial)),
            _ if may => Ok(()),
            _ => Err(KmsError::AccessDenied {
                caller: self.caller.arn(),
                action: permission(self.operation),
                resource: self.arn(key),
                reason: "because the grant does not let this principal retire it".to_owned(),
            }),
        }
    }

    /// What a policy may ask of operations on grants.
    pub(super) fn describe_grant_use(&mut self) {
        if self.caller.via_service.is_some() {
            self.facts.insert("kms:GrantIsForAWSResource", "true");
        }
    }

    fn rules(&self, lookup: &impl Lookup, key: &KeyRecord, action: &str) -> Result<ResourceRules, KmsError> {
        let which = grants_for(action, &self.encryption_context);
        let mut rules = rules(self.kms, lookup, key, self.caller, which)?;
        let names = self.caller.names();
        for grant in self.tokens.iter().filter(|grant| grant.key == key.id && names.contains(&grant.grantee)) {
            if !rules.grants.iter().any(|known| known.id == grant.id) {
                rules.grants.push(grant.clone());
            }
        }
        Ok(rules)
    }

    pub(super) fn arn(&self, key: &KeyRecord) -> String {
        self.kms.account.key_arn(key.id)
    }

    /// Key states in which cryptographic operations work: Enabled.
    pub(super) fn require_enabled(&self, key: &KeyRecord) -> Result<(), KmsError> {
        let arn = self.arn(key);
        match key.state {
            KeyState::Enabled => Ok(()),
            KeyState::Disabled => Err(KmsError::Disabled { arn }),
            KeyState::PendingDeletion { .. } => Err(KmsError::PendingDeletion { arn }),
            KeyState::PendingImport => Err(KmsError::PendingImport { arn }),
        }
    }

    /// Key states in which most management operations work: all but PendingDeletion.
    pub(super) fn require_not_pending_deletion(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            KeyState::PendingDeletion { .. } => Err(KmsError::PendingDeletion { arn: self.arn(key) }),
            KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport => Ok(()),
        }
    }

    /// Rotation by itself is for keys whose material is made here.
    pub(super) fn require_own_material(&self, key: &KeyRecord) -> Result<(), KmsError> {
        self.require_origin(key, KeyOrigin::AwsKms)
    }

    pub(super) fn require_imported_material(&self, key: &KeyRecord) -> Result<(), KmsError> {
        self.require_origin(key, KeyOrigin::External)
    }

    fn require_origin(&self, key: &KeyRecord, wanted: KeyOrigin) -> Result<(), KmsError> {
        if key.origin == wanted {
            return Ok(());
        }
        let (arn, origin) = (self.arn(key), key.origin.name());
        Err(KmsError::Unsupported(format!("{arn} origin is {origin} which is not valid for this operation.")))
    }

    /// Key states in which a key can be switched on and off.
    pub(super) fn require_switchable(&self, key: &KeyRecord) -> Result<(), KmsError> {
        match key.state {
            KeyState::PendingImport => Err(KmsError::PendingImport { arn: self.arn(key) }),
            _ => self.require_not_pending_deletion(key),
        }
    }
}

/// The permission of an operation, or of a part of one.
pub(crate) fn permission(operation: &str) -> String {
    format!("kms:{operation}")
}

/// The key's policy and the caller's grants on it.
pub(crate) fn rules(
    kms: &Kms,
    lookup: &impl Lookup,
    key: &KeyRecord,
    caller: &Caller,
    which: GrantsFor,
) -> Result<ResourceRules, KmsError> {
    let text = lookup.key_policy(key.id)?.unwrap_or_else(|| default_policy(&kms.account));
    let policy = Policy::parse(&text, PolicyKind::Resource)
        .map_err(|error| StateError::Corrupted(format!("the policy of key {}: {error}", key.id)))?;
    let mut grants = Vec::new();
    for name in caller.names() {
        grants.extend(lookup.grants_of(key.id, &name, which)?);
    }
    Ok(ResourceRules { policy, grants })
}

/// The condition keys that say what a key is.
pub(crate) fn describe_key(key: &KeyRecord, lookup: &impl Lookup, context: &mut Context) -> Result<(), KmsError> {
    context.insert("kms:KeyOrigin", key.origin.name());
    context.insert("kms:KeySpec", "SYMMETRIC_DEFAULT");
    context.insert("kms:KeyUsage", "ENCRYPT_DECRYPT");
    context.insert("kms:MultiRegion", "false");
    for tag in &key.tags {
        context.insert(format!("aws:ResourceTag/{}", tag.tag_key), tag.tag_value.as_str());
    }
    let aliases = lookup.aliases_of(key.id)?;
    if !aliases.is_empty() {
        context.insert_list("kms:ResourceAliases", aliases);
    }
    Ok(())
}

/// The condition keys that say what a call's encryption context is.
pub(crate) fn describe_encryption_context(pairs: &EncryptionContext, context: &mut Context) {
    if pairs.0.is_empty() {
        return;
    }
    for (key, value) in &pairs.0 {
        context.insert(format!("kms:EncryptionContext:{key}"), value.as_str());
    }
    context.insert_list("kms:EncryptionContextKeys", pairs.0.keys().cloned().collect());
}
