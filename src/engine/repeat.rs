//! Texts that were classified before: an application has few, and sends them again and again.
//!
//! Why is this right? A text's class depends on nothing but its bytes, and a text is known only when all of its bytes are
//! those that were classified: the place it is looked for is found by a few of them, the answer by comparing them all.
//! Only texts that leave nothing in the session are kept: nearly all are, and their class borrows nothing.

use std::cell::RefCell;
use std::thread::LocalKey;

use super::{Class, Sequence};

/// How many texts are kept at most; each has one place, and the latest is there.
const PLACES: usize = 128;

/// Longer texts are rare, and cost more to send than to read. A thread keeps half a megabyte at the very most.
const LONGEST: usize = 4096;

/// What was classified on one thread, so that nobody waits for anybody.
#[derive(Debug)]
pub(super) struct Repeats([Place; PLACES]);

/// A text that is not empty, or none.
#[derive(Debug)]
struct Place {
    text: String,
    sequence: Sequence,
}

impl Repeats {
    pub(super) const fn new() -> Self {
        Self([const { Place { text: String::new(), sequence: Sequence::NONE } }; PLACES])
    }
}

/// The class of `sql`: remembered, or found by `classify` and remembered if it is plain.
pub(super) fn classify<'a>(
    seen: &'static LocalKey<RefCell<Repeats>>,
    sql: &'a str,
    classify: fn(&'a str) -> Class<'a>,
) -> Class<'a> {
    if sql.is_empty() || sql.len() > LONGEST {
        return classify(sql);
    }
    // A thread that is ending has no memory any more.
    let answer = seen.try_with(|repeats| {
        let mut repeats = repeats.try_borrow_mut().ok()?;
        let place = repeats.0.get_mut(place(sql.as_bytes()))?;
        if place.text == sql {
            return Some(plain(place.sequence));
        }
        let class = classify(sql);
        if class == plain(class.sequence) {
            // The place's own memory serves again: where literals differ from text to text, nothing is allocated either.
            place.text.clear();
            place.text.reserve_exact(sql.len());
            place.text.push_str(sql);
            place.sequence = class.sequence;
        }
        Some(class)
    });
    answer.ok().flatten().unwrap_or_else(|| classify(sql))
}

fn plain<'a>(sequence: Sequence) -> Class<'a> {
    Class { sequence, ..Class::default() }
}

/// Where a text is kept: by its length and by eight parts of it, from its beginning to its end. Texts that differ
/// elsewhere take each other's place, which costs time and nothing else.
fn place(text: &[u8]) -> usize {
    const PARTS: usize = 8;
    const WIDTH: usize = 8;
    // 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = text.len() as u64;
    let mut mix = |part: &[u8]| {
        let mut word = [0; WIDTH];
        word[..part.len()].copy_from_slice(part);
        hash = (hash.rotate_left(23) ^ u64::from_le_bytes(word)).wrapping_mul(SPREAD);
    };
    if text.len() <= PARTS * WIDTH {
        text.chunks(WIDTH).for_each(&mut mix);
    } else {
        let room = text.len() - WIDTH;
        for part in 0..PARTS {
            let start = room * part / (PARTS - 1);
            mix(&text[start..start + WIDTH]);
        }
    }
    // The upper bits are the mixed ones; less than `PLACES`, so it fits.
    usize::try_from(hash >> 32).unwrap_or_default() % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pin::PinCause;

    thread_local! {
        static SEEN: RefCell<Repeats> = const { RefCell::new(Repeats::new()) };
    }

    /// Knows more than the text says, so that an answer from memory can be told from its own.
    fn by_length(sql: &str) -> Class<'_> {
        let sequence = if sql.contains("draws") { Sequence::GENERATES } else { Sequence::NONE };
        Class { sequence, pins: sql.contains("pins").then_some(PinCause::Listen), ..Class::default() }
    }

    fn unexpected(sql: &str) -> Class<'_> {
        panic!("{sql} was to be known")
    }

    #[test]
    fn a_plain_text_is_read_once() {
        for sql in ["select 1", "draws", &"x".repeat(LONGEST)] {
            let first = classify(&SEEN, sql, by_length);
            assert_eq!(classify(&SEEN, sql, unexpected), first);
        }
    }

    #[test]
    fn what_pins_is_read_each_time() {
        for _ in 0..2 {
            assert_eq!(classify(&SEEN, "pins", by_length).pins, Some(PinCause::Listen));
        }
    }

    #[test]
    fn texts_that_share_a_place_are_never_confused() {
        // The eight parts of both are equal: only the comparison tells them apart.
        let (plain, pins) = (format!("{0}    {0}", "x".repeat(300)), format!("{0}pins{0}", "x".repeat(300)));
        assert_eq!(place(plain.as_bytes()), place(pins.as_bytes()));
        for _ in 0..2 {
            assert_eq!(classify(&SEEN, &plain, by_length).pins, None);
            assert_eq!(classify(&SEEN, &pins, by_length).pins, Some(PinCause::Listen));
        }
    }

    #[test]
    fn one_buffer_with_another_text_in_it_is_another_text() {
        let mut buffer = "select 1 ".to_owned();
        assert_eq!(classify(&SEEN, &buffer, by_length).pins, None);
        buffer.replace_range(.., "pins now ");
        assert_eq!(classify(&SEEN, &buffer, by_length).pins, Some(PinCause::Listen));
    }

    #[test]
    fn memory_is_bounded() {
        for n in 0..10_000 {
            let sql = format!("select {n}, '{}'", "x".repeat(n % LONGEST));
            classify(&SEEN, &sql, by_length);
        }
        let held: usize = SEEN.with_borrow(|repeats| repeats.0.iter().map(|place| place.text.capacity()).sum());
        assert!(held <= PLACES * LONGEST, "{held}");
        let long = "x".repeat(LONGEST + 1);
        classify(&SEEN, &long, by_length);
        assert!(SEEN.with_borrow(|repeats| repeats.0.iter().all(|place| place.text != long)));
    }
}
