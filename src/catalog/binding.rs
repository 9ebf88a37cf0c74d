//! What this host knows of a volume that its image must not be able to change.
//!
//! The header names the KMS key to ask. Whoever can write to the image, and not to the root directory, must not be
//! able to make the volume ask another key; so the name is kept twice, and the two must agree. The grant is kept here
//! alone: it belongs to this host's volume service, not to the data.
//!
//! On the way from one key to another both are accepted: [`Binding::begin`] is durable before the header changes, and
//! [`Binding::settle`] comes after.

use std::fs;
use std::io;
use std::path::Path;

use kms_client::KmsKeyArn;
use serde::{Deserialize, Serialize};

use super::error::CatalogError;
use super::grant::{StandingGrant, VolumeGrant};
use super::paths::VolumePaths;
use super::record;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Binding {
    #[serde(flatten)]
    pub(super) present: BoundKey,
    /// Where the header is being moved to: it may name this one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<BoundKey>,
    /// Grants that nobody needs any more, and that are not retired yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    left: Vec<LeftGrant>,
}

/// A KMS key that the header may name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BoundKey {
    pub(super) kms_key: KmsKeyArn,
    /// As the header counts it. `None`: of a version that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) grant: Option<VolumeGrant>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct LeftGrant {
    kms_key: KmsKeyArn,
    grant: VolumeGrant,
}

impl Binding {
    const FILE_NAME: &str = "binding.json";

    pub(super) fn to(kms_key: KmsKeyArn, key_generation: u64, grant: Option<VolumeGrant>) -> Self {
        let present = BoundKey { kms_key, key_generation: Some(key_generation), grant };
        Self { present, next: None, left: Vec::new() }
    }

    /// Into the directory of a volume.
    pub(super) fn write(&self, dir: &Path) -> Result<(), CatalogError> {
        record::write(&dir.join(Self::FILE_NAME), self)
    }

    /// `None`: a volume whose directory was made by hand.
    pub(super) fn read(paths: &VolumePaths) -> Result<Option<Self>, CatalogError> {
        let path = paths.dir().join(Self::FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CatalogError::io("read", &path)(error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| CatalogError::NotOurs {
            id: paths.id().clone(),
            problem: format!("{} cannot be understood ({error})", path.display()),
        })
    }

    /// Refuses a header that names another KMS key.
    pub(super) fn check(&self, paths: &VolumePaths, named: &KmsKeyArn) -> Result<(), CatalogError> {
        if self.bound(named).is_some() {
            return Ok(());
        }
        let bound = &self.present.kms_key;
        Err(CatalogError::NotOurs {
            id: paths.id().clone(),
            problem: format!("its header names the KMS key {named}, but on this host it is under {bound}"),
        })
    }

    /// What is known of the key that a header names.
    pub(super) fn bound(&self, named: &KmsKeyArn) -> Option<&BoundKey> {
        std::iter::once(&self.present).chain(&self.next).find(|key| key.kms_key == *named)
    }

    /// The header is about to name this one. What an earlier attempt was about to is given up.
    pub(super) fn begin(&mut self, next: BoundKey) {
        if let Some(grant) = &next.grant {
            // KMS gives the same grant for the same words: it is needed again.
            self.left.retain(|left| left.grant.id != grant.id);
        }
        let needed = next.grant.as_ref().map(|grant| grant.id.clone());
        let given_up = self.next.replace(next);
        self.leave(given_up.filter(|key| key.grant.as_ref().map(|grant| &grant.id) != needed.as_ref()));
    }

    /// The header names this key durably, in both copies, and will not name the other one.
    pub(super) fn settle(&mut self, named: &KmsKeyArn, key_generation: u64) {
        let Some(next) = self.next.take() else { return };
        let is_there = next.kms_key == *named && next.key_generation == Some(key_generation);
        let other = if is_there { std::mem::replace(&mut self.present, next) } else { next };
        let needed = self.present.grant.as_ref().map(|grant| grant.id.clone());
        self.leave(Some(other).filter(|key| key.grant.as_ref().map(|grant| &grant.id) != needed.as_ref()));
    }

    /// Whether a change of the key was cut short, or left a grant.
    pub(super) fn is_settled(&self) -> bool {
        self.next.is_none() && self.left.is_empty()
    }

    fn leave(&mut self, key: Option<BoundKey>) {
        if let Some(BoundKey { kms_key, grant: Some(grant), .. }) = key {
            self.left.push(LeftGrant { kms_key, grant });
        }
    }

    /// Retires what nobody needs any more, as `profile` or as whoever runs the command. Returns what still stands, which is
    /// kept for the next attempt.
    pub(super) fn retire_left(&mut self, profile: Option<&str>) -> Vec<StandingGrant> {
        let mut standing = Vec::new();
        self.left.retain(|left| match left.grant.retire(&left.kms_key, profile) {
            Ok(()) => false,
            Err(stands) => {
                standing.push(stands);
                true
            }
        });
        standing
    }

    /// Every grant there is, of a volume that goes.
    pub(super) fn retire_all(mut self, profile: Option<&str>) -> Vec<StandingGrant> {
        let next = self.next.take();
        self.leave(next);
        let present = self.present.clone();
        self.leave(Some(present));
        self.retire_left(profile)
    }
}

#[cfg(test)]
mod tests {
    use kms_client::GrantToken;

    use super::*;

    fn key(name: &str) -> KmsKeyArn {
        format!("arn:aws:kms:us-east-1:111122223333:key/{name}").parse().unwrap()
    }

    fn grant(id: &str) -> Option<VolumeGrant> {
        let grantee = "arn:aws:iam::111122223333:user/envol-volume".parse().unwrap();
        Some(VolumeGrant { id: id.to_owned(), token: GrantToken::new("t"), grantee })
    }

    fn bound(name: &str, generation: u64) -> BoundKey {
        BoundKey { kms_key: key(name), key_generation: Some(generation), grant: grant(name) }
    }

    fn left(binding: &Binding) -> Vec<&str> {
        binding.left.iter().map(|left| left.grant.id.as_str()).collect()
    }

    #[test]
    fn on_the_way_both_keys_are_accepted_and_before_and_after_it_one() {
        let mut binding = Binding::to(key("a"), 1, grant("a"));
        assert!(binding.bound(&key("a")).is_some() && binding.bound(&key("b")).is_none());
        binding.begin(bound("b", 2));
        assert_eq!(binding.bound(&key("a")), Some(&bound("a", 1)));
        assert_eq!(binding.bound(&key("b")), Some(&bound("b", 2)));
        binding.settle(&key("b"), 2);
        assert!(binding.bound(&key("a")).is_none() && binding.bound(&key("b")).is_some());
        assert_eq!(left(&binding), ["a"]);
    }

    #[test]
    fn what_was_given_up_is_left_and_what_is_needed_again_is_not() {
        let mut binding = Binding::to(key("a"), 1, grant("a"));
        binding.begin(bound("b", 2));
        // Another key after all.
        binding.begin(bound("c", 2));
        assert_eq!(left(&binding), ["b"]);
        // The same again, after an answer that got lost: the same grant.
        binding.begin(bound("c", 2));
        binding.settle(&key("c"), 2);
        assert_eq!(left(&binding), ["b", "a"]);
        // Back, while its grant still stands.
        binding.begin(bound("a", 3));
        binding.settle(&key("a"), 3);
        assert_eq!(left(&binding), ["b", "c"]);
    }

    #[test]
    fn a_header_that_did_not_move_gives_up_where_it_was_about_to_go() {
        let mut binding = Binding::to(key("a"), 1, grant("a"));
        binding.begin(bound("b", 2));
        binding.settle(&key("a"), 1);
        assert_eq!(binding.present, bound("a", 1));
        assert_eq!(left(&binding), ["b"]);
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_a_settled_one_has_nothing_more() {
        let text = format!(r#"{{"kms_key":"{}"}}"#, key("a"));
        let binding: Binding = serde_json::from_str(&text).unwrap();
        assert!(binding.is_settled());
        assert_eq!(binding.present.key_generation, None);
        assert_eq!(serde_json::to_string(&binding).unwrap(), text);
    }
}
