//! The principals and access keys of the state, opened: what is looked up for every request.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::PrincipalId;
use crate::policy::{MalformedPolicy, Policy, PolicyKind};
use crate::root_key::{Purpose, RootKey};
use crate::state::{PrincipalRecord, Reading, StateError};

#[derive(Default)]
pub(crate) struct Directory {
    principals: BTreeMap<PrincipalId, Arc<Principal>>,
    access_keys: HashMap<String, Arc<AccessKey>>,
}

/// A principal with its policies parsed.
pub(crate) struct Principal {
    pub(crate) record: PrincipalRecord,
    /// Name and policy.
    pub(crate) policies: Vec<(String, Policy)>,
    pub(crate) trust_policy: Option<Policy>,
}

/// What signs a principal's requests.
pub(crate) struct AccessKey {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
    pub(crate) principal: PrincipalId,
}

/// Why the directory cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirectoryError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("a secret does not open")]
    WrongRootKey,
    #[error("a policy of {principal}: {source}")]
    Policy { principal: PrincipalId, source: MalformedPolicy },
}

impl Directory {
    pub(crate) fn load(reading: &Reading, root_key: &RootKey) -> Result<Self, DirectoryError> {
        let mut directory = Self::default();
        for record in reading.principals()? {
            let principal = Principal::parse(record)?;
            directory.principals.insert(principal.record.id.clone(), Arc::new(principal));
        }
        for credential in reading.credentials()? {
            let purpose = Purpose::UserSecret { access_key_id: &credential.access_key_id };
            let secret = root_key.open(&purpose, &credential.sealed_secret).ok();
            let secret = secret.and_then(|bytes| Some(Zeroizing::new(std::str::from_utf8(&bytes).ok()?.to_owned())));
            let key = AccessKey {
                secret: secret.ok_or(DirectoryError::WrongRootKey)?,
                id: credential.access_key_id,
                principal: credential.principal,
            };
            directory.access_keys.insert(key.id.clone(), Arc::new(key));
        }
        Ok(directory)
    }

    pub(crate) fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.principals.values()
    }

    pub(crate) fn principal(&self, id: &PrincipalId) -> Option<&Arc<Principal>> {
        self.principals.get(id)
    }

    pub(crate) fn access_key(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.access_keys.get(id)
    }

    pub(crate) fn access_key_of(&self, principal: &PrincipalId) -> Option<&Arc<AccessKey>> {
        self.access_keys.values().find(|key| key.principal == *principal)
    }
}

impl Principal {
    fn parse(record: PrincipalRecord) -> Result<Self, DirectoryError> {
        let malformed = |source| DirectoryError::Policy { principal: record.id.clone(), source };
        let parsed =
            record.policies.iter().map(|(name, text)| Ok((name.clone(), Policy::parse(text, PolicyKind::Identity)?)));
        let policies = parsed.collect::<Result<_, _>>().map_err(malformed)?;
        let trust = record.trust_policy.as_ref().map(|text| Policy::parse(text, PolicyKind::Trust));
        let trust_policy = trust.transpose().map_err(malformed)?;
        Ok(Self { record, policies, trust_policy })
    }
}
