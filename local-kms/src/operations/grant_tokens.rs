//! Grant tokens: what a grant is known by before the whole of KMS knows of it.

use serde::Deserialize;

use super::constraints::Constraints;
use super::opaque;
use crate::error::KmsError;
use crate::kms::Kms;
use crate::random;
use crate::root_key::Purpose;
use crate::state::{GrantId, GrantRecord, KeyId, Lookup};

const MAX_TOKENS: usize = 10;
const KEY_LEN: usize = 16;

/// Has no `Debug`: who has a token has the grant.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(super) struct GrantTokens(Option<Vec<String>>);

impl GrantTokens {
    pub(super) fn constrain(&self, constraints: &mut Constraints) {
        let tokens = self.0.as_deref().unwrap_or_default();
        constraints.count("grantTokens", tokens.len(), 0..=MAX_TOKENS);
        for (i, token) in (1..).zip(tokens) {
            constraints.blob_length(&format!("grantTokens.{i}.member"), Some(token.as_bytes()), 1..=8192);
        }
    }

    /// The grants that the tokens stand for. A grant that was revoked or retired is no longer one; a text that is no
    /// token of ours is an error.
    pub(super) fn open(&self, kms: &Kms) -> Result<Vec<GrantRecord>, KmsError> {
        let mut grants = Vec::new();
        for token in self.0.as_deref().unwrap_or_default() {
            grants.extend(find(kms, token)?);
        }
        Ok(grants)
    }
}

/// A new token each time; all of a grant are as good as each other.
pub(super) fn token(kms: &Kms, grant: &GrantRecord) -> Result<String, KmsError> {
    // A nonce that differs makes the token differ.
    let mut salt = [0; 16];
    random::fill(&mut salt)?;
    let plain = [grant.key.as_bytes(), grant.id.as_bytes(), &salt].concat();
    Ok(opaque::encode(&kms.root_key.seal(&Purpose::GrantToken, &plain)?))
}

/// `None`: the grant is gone.
pub(super) fn find(kms: &Kms, token: &str) -> Result<Option<GrantRecord>, KmsError> {
    let opened = opaque::decode(token).and_then(|sealed| kms.root_key.open(&Purpose::GrantToken, &sealed).ok());
    let plain = opened.ok_or(KmsError::InvalidGrantToken)?;
    let parts = plain.split_first_chunk::<KEY_LEN>().and_then(|(key, rest)| Some((key, rest.first_chunk::<32>()?)));
    let (key, grant) = parts.ok_or(KmsError::InvalidGrantToken)?;
    Ok(kms.state.read_newest()?.grant(KeyId::from_bytes(*key), GrantId::from_bytes(*grant))?)
}
