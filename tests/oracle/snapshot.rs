//! What a server shows of a session, and what it made of a text.

use std::collections::{BTreeMap, BTreeSet};

/// A session's state: what, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<String, String>);

impl Snapshot {
    /// What differs.
    pub(crate) fn changed(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        keys.into_iter().filter(|key| self.0.get(*key) != other.0.get(*key)).cloned().collect()
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// What the server made of a text.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Statements that it completed.
    pub(crate) completed: usize,
    /// The code of the error that ended it.
    pub(crate) refused: Option<String>,
    /// Whether the session is still there.
    pub(crate) alive: bool,
}

impl FromIterator<(String, String)> for Snapshot {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}
