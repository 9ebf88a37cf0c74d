//! The account and region a server stands for, and the ARNs of what is in it.

use serde::{Deserialize, Serialize};

use crate::state::KeyId;

/// The account id that AWS documentation uses; a server's keys are all in it.
pub(crate) const ACCOUNT_ID: &str = "111122223333";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) account_id: String,
    pub(crate) region: String,
}

impl Account {
    pub(crate) fn key_arn(&self, key: KeyId) -> String {
        format!("arn:aws:kms:{}:{}:key/{key}", self.region, self.account_id)
    }

    /// `alias` is the whole name, `alias/…`.
    pub(crate) fn alias_arn(&self, alias: &str) -> String {
        format!("arn:aws:kms:{}:{}:{alias}", self.region, self.account_id)
    }

    pub(crate) fn root_arn(&self) -> String {
        format!("arn:aws:iam::{}:root", self.account_id)
    }
}
