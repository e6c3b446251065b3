//! The words by which a text does something to its session: one table an engine, and everything that looks for them is made of it.

use super::sequence::Sequence;
use crate::pin::PinCause;

/// What a word stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// A function that leaves something behind in the session that calls it, or a text that it runs may.
    Leaves(PinCause),
    /// A function that leaves nothing by itself, but runs a text, as it is and as one statement.
    RunsText,
    /// A function that has to do with what the session remembers of earlier statements.
    Remembers(Sequence),
    /// It means something between other words only, or begins names that do: whoever reads the text knows.
    InContext,
}

/// A table of words in lower case.
pub(crate) struct Words<const N: usize> {
    rows: [(&'static str, Word); N],
    /// How all of them begin, a bit for each.
    beginnings: [u64; BUCKETS],
}

/// So many times 64 bits, so that hardly a word that is not in the table falls on the bit of one that is.
const BUCKETS: usize = 32;

impl<const N: usize> Words<N> {
    pub(crate) const fn new(rows: [(&'static str, Word); N]) -> Self {
        let mut beginnings = [0; BUCKETS];
        let mut row = 0;
        while row < N {
            let word = rows[row].0.as_bytes();
            assert!(word.len() >= 3, "a shorter word would be anywhere");
            let mut start = [word[0] | 0x20, word[1] | 0x20, word[2] | 0x20, 0];
            if word.len() > 3 {
                start[3] = word[3] | 0x20;
                note(&mut beginnings, start);
            } else {
                // Whatever follows it, or nothing.
                while start[3] < u8::MAX {
                    start[3] += 1;
                    if start[3] & 0x20 != 0 {
                        note(&mut beginnings, start);
                    }
                }
            }
            row += 1;
        }
        Self { rows, beginnings }
    }

    /// What a word stands for, in any case.
    pub(crate) fn find(&self, word: &str) -> Option<Word> {
        let bytes = word.as_bytes();
        if !self.may_begin(bytes) {
            return None;
        }
        let same = |known: &str| bytes.len() == known.len() && word.eq_ignore_ascii_case(known);
        self.rows.iter().find(|(known, _)| same(known)).map(|(_, word)| *word)
    }

    /// Whether a text begins as one of the words does, in any case.
    #[inline]
    pub(crate) fn begin(&self, text: &[u8]) -> bool {
        self.may_begin(text) && self.rows.iter().any(|(known, _)| begins_with(text, known))
    }

    /// Whether it may, by its first four bytes.
    #[inline]
    fn may_begin(&self, text: &[u8]) -> bool {
        let mut start = [b' '; 4];
        let length = text.len().min(4);
        start[..length].copy_from_slice(&text[..length]);
        let (bucket, bit) = place(start.map(|byte| byte | 0x20));
        self.beginnings[bucket] & bit != 0
    }

    #[cfg(test)]
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, Word)> {
        self.rows.into_iter()
    }
}

fn begins_with(text: &[u8], word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
}

/// Where the bit of four bytes is. They are small letters: all that is no letter is as good as any other.
const fn place(start: [u8; 4]) -> (usize, u64) {
    let mixed = u32::from_le_bytes(start).wrapping_mul(0x9e37_79b1) >> 21;
    (mixed as usize / 64, 1 << (mixed % 64))
}

const fn note(beginnings: &mut [u64; BUCKETS], start: [u8; 4]) {
    let (bucket, bit) = place(start);
    beginnings[bucket] |= bit;
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words<3> = Words::new([
        ("sql", Word::InContext),
        ("get_lock", Word::Leaves(PinCause::AdvisoryLock)),
        ("nextval", Word::Remembers(Sequence::GENERATES)),
    ]);

    #[test]
    fn a_word_is_found_as_a_whole_and_in_any_case() {
        assert_eq!(WORDS.find("Get_Lock"), Some(Word::Leaves(PinCause::AdvisoryLock)));
        assert_eq!(WORDS.find("SQL"), Some(Word::InContext));
        for other in ["get_lock_", "get_loc", "getlock", "sq", "", "s", "nextvaé"] {
            assert_eq!(WORDS.find(other), None, "{other}");
        }
    }

    #[test]
    fn a_text_that_begins_with_one_is_seen_whatever_follows() {
        for (text, begins) in [
            ("sql%rowcount", true),
            ("SQL_CALC_FOUND_ROWS a", true),
            ("sql", true),
            ("sqlé", true),
            ("GET_LOCK(1)", true),
            ("nextvalue", true),
            ("next", false),
            ("get", false),
            ("sq", false),
            ("", false),
            ("select", false),
        ] {
            assert_eq!(WORDS.begin(text.as_bytes()), begins, "{text}");
        }
        for after in 0..=u8::MAX {
            assert!(WORDS.begin(&[b's', b'Q', b'l', after]), "{after}");
        }
    }
}
