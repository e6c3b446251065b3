//! A place in a text, and the pieces that the languages of all engines are made of.

/// The bytes that may stand inside a word; every byte of a non-ASCII letter is one.
const IN_WORD: [bool; 256] = {
    let mut bytes = [true; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        bytes[byte as usize] = byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$';
        byte += 1;
    }
    bytes
};

/// Whether a byte may stand inside a word.
#[inline]
pub(super) fn is_in_word(byte: u8) -> bool {
    IN_WORD[usize::from(byte)]
}

/// Whether a byte is white space.
#[inline]
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
thread_local! {
    static VISITED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many bytes were looked at on this thread, each as often as it was: the tests hold it against a text's length.
#[cfg(test)]
pub(super) fn visited() -> usize {
    VISITED.get()
}

/// Counts, in the tests.
#[inline]
fn visit(_bytes: usize) {
    #[cfg(test)]
    VISITED.set(VISITED.get() + _bytes);
}

/// A text, and how far it is read.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// How far it is read.
    pub(super) fn at(&self) -> usize {
        self.at.min(self.text.len())
    }

    /// The byte so far ahead.
    #[inline]
    pub(super) fn byte(&self, offset: usize) -> Option<u8> {
        visit(1);
        self.text.as_bytes().get(self.at + offset).copied()
    }

    pub(super) fn starts_with(&self, bytes: &[u8]) -> bool {
        self.rest().starts_with(bytes)
    }

    /// What is left.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// How far ahead the first such byte is.
    #[inline]
    pub(super) fn position(&self, is_it: impl Fn(u8) -> bool) -> Option<usize> {
        let rest = self.rest();
        let found = rest.iter().position(|byte| is_it(*byte));
        visit(found.unwrap_or(rest.len()));
        found
    }

    /// What is left, as text.
    pub(super) fn rest_of_text(&self) -> &'a str {
        self.slice(self.at, self.text.len())
    }

    #[inline]
    pub(super) fn slice(&self, start: usize, end: usize) -> &'a str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Where the text ends.
    pub(super) fn end(&self) -> usize {
        self.text.len()
    }

    pub(super) fn finish(&mut self) {
        self.at = self.text.len();
    }

    /// The word that begins here.
    #[inline]
    pub(super) fn word(&mut self) -> &'a str {
        let start = self.at;
        self.at += self.position(|byte| !is_in_word(byte)).unwrap_or_else(|| self.rest().len());
        self.slice(start, self.at)
    }

    pub(super) fn skip_digits(&mut self) {
        while self.byte(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Past `e5` or `E-5`, if one stands here.
    pub(super) fn skip_exponent(&mut self) -> bool {
        let sign = usize::from(matches!(self.byte(1), Some(b'+' | b'-')));
        let is =
            matches!(self.byte(0), Some(b'e' | b'E')) && self.byte(1 + sign).is_some_and(|byte| byte.is_ascii_digit());
        if is {
            self.at += 1 + sign;
            self.skip_digits();
        }
        is
    }

    /// Past a line's end, which is one of these bytes.
    pub(super) fn skip_past_line(&mut self, ends: &[u8]) {
        self.at += self.position(|byte| ends.contains(&byte)).map_or_else(|| self.rest().len(), |end| end + 1);
    }

    /// Past a block comment whose opening is at the current place; so many may stand in one another.
    pub(super) fn skip_past_comment(&mut self, deepest: usize) {
        let mut depth = 0_usize;
        while let Some(byte) = self.byte(0) {
            let pair = (byte, self.byte(1));
            if pair == (b'/', Some(b'*')) && depth < deepest {
                depth += 1;
                self.at += 2;
            } else if pair == (b'*', Some(b'/')) {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += 1;
            }
        }
    }

    /// Past a quoted piece whose opening quote is at the current place; returns what is inside. A doubled quote stands
    /// for itself.
    #[inline]
    pub(super) fn quoted(&mut self, quote: u8) -> &'a str {
        self.at += 1;
        let start = self.at;
        while let Some(length) = self.rest_of_text().find(char::from(quote)) {
            visit(length);
            self.at += length + 1;
            if self.byte(0) != Some(quote) {
                return self.slice(start, self.at - 1);
            }
            self.at += 1;
        }
        self.finish();
        self.slice(start, self.at)
    }
}
