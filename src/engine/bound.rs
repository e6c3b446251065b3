//! What types the values of a query are bound as. The drivers show that nowhere but in their `Debug` (sqlx 0.9.0).
//!
//! What does not read as expected is unreadable, and not guessed at.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// As far as the driver shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The same number for the same types; `None` where they cannot be read.
    pub(crate) types: Option<u64>,
    /// Those that the driver has to look up by a name, each with the number of its value, counted from one.
    pub(crate) names: Vec<(usize, TypeName)>,
}

/// A type as a program names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TypeName {
    Plain(String),
    ArrayOf(String),
}

impl Bound {
    pub(super) const UNREADABLE: Self = Self { types: None, names: Vec::new() };

    /// Of types that are shown so.
    pub(super) fn of(list: &str, names: Vec<(usize, TypeName)>) -> Self {
        let mut hasher = DefaultHasher::new();
        list.hash(&mut hasher);
        Self { types: Some(hasher.finish()), names }
    }
}

/// What stands between the brackets of a list within what something shows: of the first list, or of the second one after no more
/// than so many letters. Empty where there is none, or where nothing closes it.
pub(super) fn list_in(shown: &impl Debug, number: usize, most_before: usize) -> String {
    let mut list = List { text: String::new(), depth: 0, before: number, most_before };
    // Ends in an error by design, where the list does: what comes after it is not wanted, and may be long.
    let ended = write!(list, "{shown:?}").is_err();
    if ended && list.depth == 0 && list.before == 0 { list.text } else { String::new() }
}

struct List {
    text: String,
    depth: usize,
    /// So many lists come before it.
    before: usize,
    most_before: usize,
}

impl Write for List {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.before > 0 {
            self.most_before = self.most_before.checked_sub(part.len()).ok_or(fmt::Error)?;
        }
        for letter in part.chars() {
            match letter {
                '[' => {
                    self.depth += 1;
                    if self.depth == 1 {
                        continue;
                    }
                }
                ']' if self.depth == 1 => {
                    self.depth = 0;
                    if self.before == 0 {
                        return Err(fmt::Error);
                    }
                    self.before -= 1;
                }
                ']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > 0 && self.before == 0 {
                self.text.push(letter);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_found_by_its_number_and_nothing_behind_it_is_read() {
        struct Shy;
        impl Debug for Shy {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("BUG: read on")
            }
        }
        let lists = ([1, 2], [Some("["), None], Shy);
        assert_eq!(list_in(&lists, 0, 0), "1, 2");
        assert_eq!(list_in(&([[1], [2]], Shy), 0, 0), "[1], [2]");
        assert_eq!(list_in(&([0_u8; 0], [7], Shy), 1, 10), "7");
        assert_eq!(list_in(&([7_u8; 10], [7], Shy), 1, 10), "", "too much before it");
        assert_eq!(list_in(&[1], 1, 100), "", "there is but one");
        assert_eq!(list_in(&1, 0, 100), "");
    }
}
