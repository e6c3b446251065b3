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
    /// Those that the driver has to look up by a name.
    pub(crate) names: Vec<TypeName>,
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
    pub(super) fn of(shown: impl Hash, names: Vec<TypeName>) -> Self {
        let mut hasher = DefaultHasher::new();
        shown.hash(&mut hasher);
        Self { types: Some(hasher.finish()), names }
    }
}

/// What stands between the brackets of the first lists in what something shows, up to so many letters of each. `None` where there
/// are fewer, or one is longer.
pub(super) fn lists_in<const N: usize>(shown: &impl Debug, most: usize) -> Option<[String; N]> {
    let mut lists = Lists { texts: [const { String::new() }; N], closed: 0, depth: 0, most };
    // Ends in an error by design, where the last list does: what comes after it is not wanted, and may be long.
    let _ = write!(lists, "{shown:?}");
    (lists.closed == N).then_some(lists.texts)
}

struct Lists<const N: usize> {
    texts: [String; N],
    closed: usize,
    depth: usize,
    most: usize,
}

impl<const N: usize> Write for Lists<N> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for letter in part.chars() {
            let text = self.texts.get_mut(self.closed).ok_or(fmt::Error)?;
            match letter {
                '[' => {
                    self.depth += 1;
                    if self.depth == 1 {
                        continue;
                    }
                }
                ']' if self.depth == 1 => {
                    self.depth = 0;
                    self.closed += 1;
                    continue;
                }
                ']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > 0 {
                if text.len() >= self.most {
                    return Err(fmt::Error);
                }
                text.push(letter);
            }
        }
        if self.closed == N { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_found_in_their_order_and_nothing_behind_them_is_read() {
        struct Shy;
        impl Debug for Shy {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("BUG: read on")
            }
        }
        let one = |text: &str| Some([text.to_owned()]);
        assert_eq!(lists_in(&([1, 2], [Some("["), None], Shy), 99), one("1, 2"));
        assert_eq!(lists_in(&([[1], [2]], Shy), 99), one("[1], [2]"));
        assert_eq!(lists_in(&([0_u8; 0], [7], Shy), 99), Some(["".to_owned(), "7".to_owned()]));
        assert_eq!(lists_in::<2>(&([7_u8; 10], [7], Shy), 9), None, "too long");
        assert_eq!(lists_in::<2>(&[1], 99), None, "there is but one");
        assert_eq!(lists_in::<1>(&1, 99), None);
    }
}
