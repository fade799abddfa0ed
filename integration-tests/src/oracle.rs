//! The truth that the store is measured against: what it must hold, and what it must list.

use std::collections::BTreeMap;

use bytes::Bytes;

/// What one bucket must hold.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    /// Keys in byte order with their bodies.
    pub objects: BTreeMap<String, Bytes>,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A key.
    Key(String),
    /// A common prefix.
    Prefix(String),
}

impl Entry {
    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Key(text) | Self::Prefix(text) => text,
        }
    }
}

impl Oracle {
    /// What a listing must show, all pages together, in order.
    #[must_use]
    pub fn list(&self, prefix: &str, delimiter: &str, after: &str) -> Vec<Entry> {
        let mut found: Vec<Entry> = Vec::new();
        for key in self.objects.keys() {
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            let entry = match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => Entry::Prefix(format!("{prefix}{}", &rest[..at + delimiter.len()])),
                None => Entry::Key(key.clone()),
            };
            let passed = match &entry {
                Entry::Key(key) => key.as_str() <= after,
                Entry::Prefix(common) => key.as_str() <= after || common.as_str() == after,
            };
            if !passed && found.last() != Some(&entry) {
                found.push(entry);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_stand_between_keys() {
        let mut oracle = Oracle::default();
        for key in ["a/1", "a/2", "b", "c/x"] {
            oracle.objects.insert(key.to_owned(), Bytes::new());
        }
        let (key, prefix) = (|k: &str| Entry::Key(k.to_owned()), |p: &str| Entry::Prefix(p.to_owned()));
        assert_eq!(oracle.list("", "/", ""), [prefix("a/"), key("b"), prefix("c/")]);
        assert_eq!(oracle.list("a/", "/", "a/1"), [key("a/2")]);
        assert_eq!(oracle.list("", "", "b"), [key("c/x")]);
        assert_eq!(oracle.list("", "/", "a/"), [key("b"), prefix("c/")]);
    }
}
