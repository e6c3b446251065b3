//! What types the values of a query are bound as. The drivers show that nowhere but in their `Debug` (sqlx 0.9.0).
//!
//! What does not read as expected is unreadable, and not guessed at.

use std::array;
use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};

/// As far as the driver shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    /// The same number for the same types; `None` where they cannot be read.
    pub(crate) types: Option<u64>,
    /// Those that the driver has to look up by a name, those within values too.
    pub(crate) names: Vec<TypeName>,
    /// There may be others, which cannot be read.
    pub(crate) hides_names: bool,
}

/// A type as a program names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TypeName {
    Plain(String),
    ArrayOf(String),
}

impl Bound {
    /// Nothing can be read.
    pub(super) const UNREADABLE: Self = Self { types: None, names: Vec::new(), hides_names: true };

    /// Of types that are shown so.
    pub(super) fn of(shown: impl Hash, names: Vec<TypeName>) -> Self {
        let mut hasher = DefaultHasher::new();
        shown.hash(&mut hasher);
        Self { types: Some(hasher.finish()), names, hides_names: false }
    }
}

/// What stands between the brackets of the first lists in what something shows, up to so many letters of each. `None` where there
/// are fewer, or one is longer.
pub(super) fn lists_in<const N: usize>(shown: &impl Debug, most: usize) -> Option<[String; N]> {
    let texts = array::from_fn(|_| String::with_capacity(USUAL));
    let mut lists = Lists { texts, closed: 0, depth: 0, most };
    // Ends in an error by design, where the last list does: what comes after it is not wanted, and may be long.
    let _ = write!(lists, "{shown:?}");
    (lists.closed == N).then_some(lists.texts)
}

/// Most lists are no longer, in letters.
const USUAL: usize = 256;

struct Lists<const N: usize> {
    texts: [String; N],
    closed: usize,
    depth: usize,
    most: usize,
}

impl<const N: usize> Lists<N> {
    fn bracket(&mut self, bracket: u8) -> Result<(), fmt::Error> {
        if bracket == b'[' {
            self.depth += 1;
            return if self.depth > 1 { self.keep("[") } else { Ok(()) };
        }
        if self.depth > 1 {
            self.keep("]")?;
        } else if self.depth == 1 {
            self.closed += 1;
        }
        self.depth = self.depth.saturating_sub(1);
        if self.closed == N { Err(fmt::Error) } else { Ok(()) }
    }

    fn keep(&mut self, part: &str) -> Result<(), fmt::Error> {
        if self.depth == 0 {
            return Ok(());
        }
        let text = self.texts.get_mut(self.closed).filter(|text| text.len() + part.len() <= self.most);
        text.ok_or(fmt::Error)?.push_str(part);
        Ok(())
    }
}

impl<const N: usize> Write for Lists<N> {
    fn write_str(&mut self, mut part: &str) -> fmt::Result {
        while let Some(at) = part.bytes().position(|byte| matches!(byte, b'[' | b']')) {
            self.keep(&part[..at])?;
            self.bracket(part.as_bytes()[at])?;
            part = &part[at + 1..];
        }
        self.keep(part)
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
