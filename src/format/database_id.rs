//! The database that a volume belongs to, and the encryption contexts that bind the volume's keys to it.

use std::fmt;
use std::str::FromStr;

use kms_client::EncryptionContext;

use super::{SnapshotId, VolumeId};

/// RDS names the instance, Aurora the cluster; the encryption context has another key for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DatabaseId {
    /// `aws:rds:db-id`
    Instance(DatabaseName),
    /// `aws:rds:dbc-id`
    Cluster(DatabaseName),
}

/// 1 to 128 of `A-Z a-z 0-9 _ . : -`, the first a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DatabaseName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a database id: 1 to 128 letters, digits, `_`, `.`, `:` or `-`, beginning with a letter or a digit"
)]
pub struct InvalidDatabaseName(String);

impl DatabaseId {
    pub fn name(&self) -> &DatabaseName {
        match self {
            Self::Instance(name) | Self::Cluster(name) => name,
        }
    }

    /// The key under which the encryption context holds the name.
    pub fn context_key(&self) -> &'static str {
        match self {
            Self::Instance(_) => "aws:rds:db-id",
            Self::Cluster(_) => "aws:rds:dbc-id",
        }
    }

    /// What the volume key is wrapped with, as RDS does it:
    /// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.Keys.html>
    pub fn encryption_context(&self, volume: &VolumeId) -> EncryptionContext {
        EncryptionContext::default().with(self.context_key(), self.name().as_str()).with("aws:ebs:id", volume.as_str())
    }

    /// What the canary is wrapped with: one pair more, so that neither wrapped key passes for the other.
    pub fn canary_context(&self, volume: &VolumeId) -> EncryptionContext {
        self.encryption_context(volume).with("envol:use", "canary")
    }

    /// What the key of a snapshot is wrapped with. The snapshot's own name is in it, so that a grant can be for one
    /// snapshot and no other.
    pub fn snapshot_context(&self, volume: &VolumeId, snapshot: &SnapshotId) -> EncryptionContext {
        let context = self.encryption_context(volume);
        context.with("envol:use", "snapshot").with("envol:snapshot-id", snapshot.as_str())
    }
}

impl DatabaseName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatabaseName {
    type Err = InvalidDatabaseName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=128).contains(&text.len())
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidDatabaseName(text.to_owned())) }
    }
}

impl fmt::Display for DatabaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for DatabaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "x".repeat(128);
        for good in ["db-ABCDEFGHIJKLMNOPQRSTUVWXYZ", "orders", "0", "a_b.c:d-e", &longest] {
            assert_eq!(good.parse::<DatabaseName>().unwrap().as_str(), good);
        }
        let too_long = "x".repeat(129);
        for bad in ["", "-db", ".db", "a/b", "a b", "ä", "a\0", &too_long] {
            assert!(bad.parse::<DatabaseName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn contexts_are_those_of_rds() {
        let volume: VolumeId = "vol-1".parse().unwrap();
        let pairs = |context: EncryptionContext| context.0.into_iter().collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());

        let instance = DatabaseId::Instance("db-X".parse().unwrap());
        assert_eq!(
            pairs(instance.encryption_context(&volume)),
            [pair("aws:ebs:id", "vol-1"), pair("aws:rds:db-id", "db-X")]
        );
        let cluster = DatabaseId::Cluster("cluster-X".parse().unwrap());
        assert_eq!(
            pairs(cluster.canary_context(&volume)),
            [pair("aws:ebs:id", "vol-1"), pair("aws:rds:dbc-id", "cluster-X"), pair("envol:use", "canary")]
        );
    }
}
