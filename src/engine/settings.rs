//! What a session has set: which settings, in which order, and the statement by which each is set again.
//!
//! Why keep the order? What a setting means may depend on those before it: a name is looked up in the `search_path` that
//! was set by then, and a role may set what the login may not. Settings that are made again in their own order mean what
//! they meant; in any other order they may not.
//!
//! The statements are this crate's own wording, schema-qualified where they call anything, and not the application's
//! text: they run on connections whose `search_path` and role are another session's.

use std::fmt;
use std::sync::Arc;

/// Settings that differ from the login's. Cheap to clone; a change copies what is shared.
#[derive(Clone, Default)]
pub(crate) struct Settings(Option<Arc<Vec<Entry>>>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    statement: String,
}

impl Settings {
    /// Whether nothing differs.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// How many differ.
    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    /// The statement that sets a setting, if that differs.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| entry.statement.as_str())
    }

    /// Whether a setting differs.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The names, in the order in which they were set.
    pub(crate) fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.entries().iter().map(|entry| entry.name.as_str())
    }

    /// Names and statements, in the order in which they were set.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.entries().iter().map(|entry| (entry.name.as_str(), entry.statement.as_str()))
    }

    /// A setting is set, after all others.
    pub(crate) fn set(&mut self, name: String, statement: String) {
        let entries = Arc::make_mut(self.0.get_or_insert_default());
        entries.retain(|entry| entry.name != name);
        entries.push(Entry { name, statement });
    }

    /// Those that `keep` refuses are as at login again.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        if let Some(entries) = &mut self.0
            && !entries.iter().all(|entry| keep(&entry.name))
        {
            Arc::make_mut(entries).retain(|entry| keep(&entry.name));
            if entries.is_empty() {
                self.0 = None;
            }
        }
    }

    /// A setting is as at login again.
    pub(crate) fn remove(&mut self, name: &str) {
        self.retain(|known| known != name);
    }

    /// How many of the first ones both have in the same order, set by the same statements.
    pub(crate) fn common_start(&self, other: &Self) -> usize {
        let pairs = self.entries().iter().zip(other.entries());
        pairs.take_while(|(one, other)| one == other).count()
    }

    /// The names of those that are not the same in both.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let changed = self.iter().filter(|(name, statement)| other.get(name) != Some(statement));
        let added = other.iter().filter(|(name, _)| !self.contains(name));
        changed.chain(added).map(|(name, _)| name)
    }

    /// How long they are together, in bytes, as they are written.
    pub(crate) fn bytes(&self) -> usize {
        self.iter().map(|(name, statement)| name.len() + statement.len()).sum()
    }

    /// Whether both are one and the same in memory.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    fn entries(&self) -> &[Entry] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Settings {}

/// Names only: a value may be a tenant's token.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl<N: Into<String>, S: Into<String>> FromIterator<(N, S)> for Settings {
    fn from_iter<I: IntoIterator<Item = (N, S)>>(pairs: I) -> Self {
        let mut settings = Self::default();
        for (name, statement) in pairs {
            settings.set(name.into(), statement.into());
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().copied().collect()
    }

    #[test]
    fn the_last_set_comes_last_and_what_is_taken_back_is_gone() {
        let mut some = settings(&[("a", "1"), ("b", "1"), ("a", "2")]);
        assert_eq!(some.iter().collect::<Vec<_>>(), [("b", "1"), ("a", "2")]);
        some.remove("b");
        some.remove("c");
        assert_eq!((some.len(), some.get("a"), some.contains("b")), (1, Some("2"), false));
        some.remove("a");
        assert_eq!(some, Settings::default());
        assert!(some.is_empty());
    }

    #[test]
    fn the_order_is_a_part_of_what_is_set() {
        let (one, other) = (settings(&[("a", "1"), ("b", "1")]), settings(&[("b", "1"), ("a", "1")]));
        assert_ne!(one, other);
        assert_eq!((one.common_start(&one), one.common_start(&other)), (2, 0));
        assert_eq!(one.common_start(&settings(&[("a", "1"), ("c", "1")])), 1);
    }

    #[test]
    fn differences_are_told_by_name_and_once() {
        let (one, other) =
            (settings(&[("a", "1"), ("b", "1"), ("c", "1")]), settings(&[("c", "1"), ("b", "2"), ("d", "1")]));
        assert_eq!(one.differences(&other).collect::<Vec<_>>(), ["a", "b", "d"]);
        assert_eq!(format!("{one:?}"), r#"["a", "b", "c"]"#);
    }
}
