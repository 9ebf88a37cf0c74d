//! The condition keys of a request and their values.

use std::collections::BTreeMap;

/// Names ignore case, in all their parts. A key that occurs has a list of values, which may be empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context(BTreeMap<String, Entry>);

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    values: Vec<String>,
}

impl Context {
    /// Replaces what a key of this name had.
    pub(crate) fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.insert_list(key, vec![value.into()]);
    }

    /// Replaces what a key of this name had.
    pub(crate) fn insert_list(&mut self, key: impl Into<String>, values: Vec<String>) {
        let name = key.into();
        self.0.insert(name.to_lowercase(), Entry { name, values });
    }

    pub(crate) fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(&key.to_lowercase()).map(|entry| entry.values.as_slice())
    }

    /// Names as they were inserted.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.values().map(|entry| (entry.name.as_str(), entry.values.as_slice()))
    }
}
