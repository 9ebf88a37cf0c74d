//! The encryption context: pairs that a ciphertext is bound to, and their one canonical form.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Sorted by key, compared byte for byte. An absent context and an empty one are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct EncryptionContext(pub(crate) BTreeMap<String, String>);

impl EncryptionContext {
    pub(crate) fn has_keys_that_differ_by_case_only(&self) -> bool {
        let keys: BTreeSet<String> = self.0.keys().map(|key| key.to_lowercase()).collect();
        keys.len() < self.0.len()
    }

    /// Appends the canonical form: the number of pairs, then each key and value after its length, all lengths as
    /// 64-bit little-endian. No two contexts share one, so no byte can move between a key and its value.
    pub(crate) fn append_canonical(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.0.len() as u64).to_le_bytes());
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        EncryptionContext(pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    fn canonical(context: &EncryptionContext) -> Vec<u8> {
        let mut out = Vec::new();
        context.append_canonical(&mut out);
        out
    }

    #[test]
    fn order_does_not_matter() {
        let sent_one_way: EncryptionContext = serde_json::from_str(r#"{"a":"1","b":"2"}"#).unwrap();
        let sent_the_other: EncryptionContext = serde_json::from_str(r#"{"b":"2","a":"1"}"#).unwrap();
        assert_eq!(canonical(&sent_one_way), canonical(&sent_the_other));
    }

    #[test]
    fn bytes_moved_from_key_to_value_change_the_form() {
        assert_ne!(canonical(&context(&[("aws:ebs:id", "vol-1")])), canonical(&context(&[("aws:ebs:i", "dvol-1")])));
    }

    proptest! {
        #[test]
        fn equal_forms_mean_equal_contexts(
            left in prop::collection::btree_map("[a-c\0]{0,3}", "[a-c\0]{0,3}", 0..4),
            right in prop::collection::btree_map("[a-c\0]{0,3}", "[a-c\0]{0,3}", 0..4),
        ) {
            let (left, right) = (EncryptionContext(left), EncryptionContext(right));
            prop_assert_eq!(canonical(&left) == canonical(&right), left == right);
        }

        #[test]
        fn moving_the_border_between_key_and_value_changes_the_form(
            text in "[a-z:]{2,12}", first in 0usize..13, second in 0usize..13,
        ) {
            let (first, second) = (first.min(text.len()), second.min(text.len()));
            let split = |at: usize| context(&[text.split_at(at)]);
            prop_assert_eq!(canonical(&split(first)) == canonical(&split(second)), first == second);
        }
    }
}
