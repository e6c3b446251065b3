//! What a text has to do with what the server's session remembers of the statements before it.

use std::ops::{BitOr, BitOrAssign};

/// A set: a text may do several of these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sequence(u8);

impl Sequence {
    /// Nothing that is known.
    pub(crate) const NONE: Self = Self(0);
    /// It may generate a number. What it is good for is to know when it pays to make room for that number, and nobody's
    /// safety rests on it: a function, a trigger or a default generates unseen.
    pub(crate) const GENERATES: Self = Self(1);
    /// It reads generated numbers: `currval`, `lastval`, `LAST_INSERT_ID()`.
    pub(crate) const READS: Self = Self(1 << 1);
    /// It reads the diagnostics of the statement before it, whatever that was: `ROW_COUNT()`.
    pub(crate) const READS_COUNT: Self = Self(1 << 2);
    /// It reads those of the last statement that had any to leave: warnings.
    pub(crate) const READS_WARNINGS: Self = Self(1 << 3);
    /// It reads how many rows the last query had found.
    pub(crate) const READS_FOUND: Self = Self(1 << 4);
    /// It reads numbers of a kind that no statement makes the server forget: those of MariaDB's sequences.
    pub(crate) const READS_KEPT: Self = Self(1 << 5);
    /// Warnings are its own from here on.
    pub(crate) const WARNS: Self = Self(1 << 6);
    /// The rows that were found are its own from here on.
    pub(crate) const FINDS: Self = Self(1 << 7);

    const READS_EARLIER: Self = Self(Self::READS_WARNINGS.0 | Self::READS_FOUND.0);
    const READS_DIAGNOSTICS: Self = Self(Self::READS_EARLIER.0 | Self::READS_COUNT.0);

    fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    fn without(self, those: Self) -> Self {
        Self(self.0 & !those.0)
    }

    /// What a text has to do with it that goes on with another statement: what that reads of the statements before it is
    /// the text's own, as far as those have left any.
    pub(crate) fn then(self, next: Self) -> Self {
        let mut next = next.without(Self::READS_COUNT);
        if self.has(Self::WARNS) {
            next = next.without(Self::READS_WARNINGS);
        }
        if self.has(Self::FINDS) {
            next = next.without(Self::READS_FOUND);
        }
        self | next
    }

    /// What it leaves for the next one to read.
    pub(crate) fn left(self) -> Self {
        Self(self.0 & (Self::WARNS.0 | Self::FINDS.0))
    }

    /// What it generates and reads itself.
    #[cfg(any(test, feature = "_internals"))]
    pub(crate) fn done(self) -> Self {
        self.without(self.left())
    }

    pub(crate) fn generates(self) -> bool {
        self.has(Self::GENERATES)
    }

    pub(crate) fn reads(self) -> bool {
        self.has(Self::READS)
    }

    pub(crate) fn reads_kept(self) -> bool {
        self.has(Self::READS_KEPT)
    }

    /// Anything about the statements before it. An exchange in between would be what it is told of.
    pub(crate) fn reads_diagnostics(self) -> bool {
        self.has(Self::READS_DIAGNOSTICS)
    }

    /// What may be older than the statement before it.
    pub(crate) fn reads_earlier(self) -> bool {
        self.has(Self::READS_EARLIER)
    }
}

impl BitOr for Sequence {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Sequence {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_has_left_itself_is_not_read_of_earlier_ones() {
        const UPDATE: Sequence = Sequence::WARNS;
        let select = Sequence::WARNS | Sequence::FINDS;
        for (statements, left) in [
            (vec![Sequence::READS_COUNT], Sequence::READS_COUNT),
            (vec![UPDATE, Sequence::READS_COUNT], Sequence::NONE),
            (vec![Sequence::NONE, Sequence::READS_COUNT], Sequence::NONE),
            (vec![Sequence::READS_COUNT, UPDATE], Sequence::READS_COUNT),
            (vec![UPDATE, Sequence::NONE, Sequence::READS_WARNINGS], Sequence::NONE),
            (vec![Sequence::NONE, Sequence::READS_WARNINGS], Sequence::READS_WARNINGS),
            (vec![UPDATE, Sequence::READS_FOUND], Sequence::READS_FOUND),
            (vec![select, Sequence::READS_FOUND], Sequence::NONE),
            // Whether anything was generated no text tells.
            (vec![Sequence::GENERATES, Sequence::READS], Sequence::GENERATES | Sequence::READS),
        ] {
            let text = statements.iter().copied().reduce(Sequence::then).unwrap_or_default().done();
            assert_eq!(text, left, "{statements:?}");
        }
    }
}
