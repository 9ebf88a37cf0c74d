//! The condition keys of a request and their values.

use std::collections::BTreeMap;

/// Names ignore case, in all their parts. A key that occurs has a list of values, which may be empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// Replaces what a key of this name had.
    pub(crate) fn insert(&mut self, key: impl AsRef<str>, value: impl Into<String>) {
        self.insert_list(key, vec![value.into()]);
    }

    /// Replaces what a key of this name had.
    pub(crate) fn insert_list(&mut self, key: impl AsRef<str>, values: Vec<String>) {
        self.0.insert(key.as_ref().to_lowercase(), values);
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.0.remove(&key.to_lowercase());
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_lowercase()).map(Vec::as_slice)
    }
}
