//! The words of a PostgreSQL text: enough to tell statements apart, in one pass and without allocating.
//!
//! Rules: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>.

use crate::engine::cursor::Cursor;
use crate::engine::token::Token;

/// Block comments nest, however deep.
const ANY_DEPTH: usize = usize::MAX;

/// What ends a line.
const LINE_ENDS: &[u8] = b"\n\r";

/// An iterator over the tokens of a text. A quote or comment that is never closed swallows the rest, as on the server.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a>(Cursor<'a>);

/// What a byte begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    /// A letter or `_`; every byte of a non-ASCII letter is one.
    Letter,
    Digit,
    Dollar,
    Quote,
    DoubleQuote,
    Other,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Letter; 256];
    let mut byte = 0_u8;
    while byte < 0x80 {
        kinds[byte as usize] = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Kind::Blank,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Kind::Letter,
            b'0'..=b'9' => Kind::Digit,
            b'$' => Kind::Dollar,
            b'\'' => Kind::Quote,
            b'"' => Kind::DoubleQuote,
            _ => Kind::Other,
        };
        byte += 1;
    }
    kinds
};

fn kind(byte: u8) -> Kind {
    KINDS[usize::from(byte)]
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self(Cursor::new(text))
    }

    /// The next token and where it begins.
    #[inline]
    pub(crate) fn next_at(&mut self) -> Option<(usize, Token<'a>)> {
        let first = self.skip_blanks()?;
        let start = self.0.at;
        Some((start, self.token(first)))
    }

    /// Where the token that was returned last ends.
    pub(crate) fn at(&self) -> usize {
        self.0.at()
    }

    /// Passes over white space and comments, and returns the byte that follows.
    #[inline]
    fn skip_blanks(&mut self) -> Option<u8> {
        loop {
            let byte = self.0.byte(0)?;
            if kind(byte) == Kind::Blank {
                self.0.at += 1;
            } else if byte == b'-' && self.0.byte(1) == Some(b'-') {
                self.0.skip_past_line(LINE_ENDS);
            } else if byte == b'/' && self.0.byte(1) == Some(b'*') {
                self.0.skip_past_comment(ANY_DEPTH);
            } else {
                return Some(byte);
            }
        }
    }

    /// The most frequent first, one after the other: a processor guesses that better than a table of jumps.
    #[inline]
    fn token(&mut self, first: u8) -> Token<'a> {
        let kind = kind(first);
        if kind == Kind::Letter {
            let word = self.0.word();
            // E'…' has escapes; B'…', X'…', N'…' and U&'…' end where a standard string does.
            if word.len() == 1 && first | 0x20 == b'e' && self.0.byte(0) == Some(b'\'') {
                return Token::String(self.escaped());
            }
            return Token::Word(word);
        }
        if kind == Kind::Other {
            self.0.at += 1;
            return if first == b';' { Token::End } else { Token::Symbol(first) };
        }
        match kind {
            // A standard string; where `standard_conforming_strings` is off the text counts as unknown anyway.
            Kind::Quote => Token::String(self.0.quoted(first)),
            Kind::DoubleQuote => Token::Identifier(self.0.quoted(first)),
            Kind::Digit => Token::Word(self.number()),
            Kind::Dollar => self.dollar_quoted().map_or_else(|| Token::Word(self.parameter()), Token::String),
            _ => Token::Word(self.parameter()),
        }
    }

    /// A number ends where it can: up to PostgreSQL 14 `1into` is a number and a word.
    fn number(&mut self) -> &'a str {
        let start = self.0.at;
        self.0.skip_digits();
        if self.0.byte(0) == Some(b'.') {
            self.0.at += 1;
            self.0.skip_digits();
        }
        self.0.skip_exponent();
        self.0.slice(start, self.0.at)
    }

    /// `$1`, or a `$` that begins nothing.
    fn parameter(&mut self) -> &'a str {
        let start = self.0.at;
        self.0.at += 1;
        self.0.skip_digits();
        self.0.slice(start, self.0.at)
    }

    /// As `quoted`, for a string with escapes. A part of it on a later line has them too.
    fn escaped(&mut self) -> &'a str {
        self.0.at += 1;
        let start = self.0.at;
        while let Some(byte) = self.0.byte(0) {
            self.0.at += 1;
            if byte == b'\\' {
                self.0.at += 1;
            } else if byte == b'\'' {
                let end = self.0.at - 1;
                if self.0.byte(0) == Some(b'\'') {
                    self.0.at += 1;
                } else if !self.skip_to_next_part() {
                    return self.0.slice(start, end);
                }
            }
        }
        self.0.slice(start, self.0.end())
    }

    /// Past the quote that takes a string up again, if one does: after white space and `--` comments, on a later line.
    fn skip_to_next_part(&mut self) -> bool {
        let end = self.0.at;
        while let Some(byte) = self.0.byte(0) {
            match (kind(byte), byte) {
                (Kind::Blank, _) => self.0.at += 1,
                (_, b'-') if self.0.byte(1) == Some(b'-') => self.0.skip_past_line(LINE_ENDS),
                (_, b'\'') if self.0.slice(end, self.0.at).contains(['\n', '\r']) => {
                    self.0.at += 1;
                    return true;
                }
                _ => break,
            }
        }
        self.0.at = end;
        false
    }

    /// Past `$tag$ … $tag$`, if that is what begins here; returns what is inside.
    fn dollar_quoted(&mut self) -> Option<&'a str> {
        let rest = self.0.rest_of_text();
        let mut tag = self.0.clone();
        tag.at += 1;
        let tag_end = tag.position(|byte| !matches!(kind(byte), Kind::Letter | Kind::Digit));
        let delimiter_length = tag_end? + 2;
        let closed = rest.as_bytes().get(delimiter_length - 1) == Some(&b'$');
        if !closed || rest.as_bytes()[1].is_ascii_digit() {
            return None;
        }
        let (delimiter, body) = rest.split_at(delimiter_length);
        let end = body.find(delimiter);
        self.0.at = match end {
            Some(end) => self.0.at + delimiter_length + end + delimiter_length,
            None => self.0.end(),
        };
        Some(end.map_or(body, |end| &body[..end]))
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        self.next_at().map(|(_, token)| token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> usize {
        let mut open = false;
        let mut count = 0;
        for token in Lexer::new(text) {
            count += usize::from(!open && token != Token::End);
            open = token != Token::End;
        }
        count
    }

    #[test]
    fn a_text_is_split_where_the_server_splits_it() {
        for (text, count) in [
            ("", 0),
            (" ; ; ", 0),
            ("select 1", 1),
            ("select 1;", 1),
            ("select 1; select 2", 2),
            ("select ';'", 1),
            ("select 'it''s; fine'", 1),
            (r"select '\'; select 2", 2),
            (r"select e'\'; select 2'", 1),
            (r"select E'\\'; select 2", 2),
            (r#"select "a;b"";c" from t"#, 1),
            ("select $$;$$; select 2", 2),
            ("select $tag$ ; $$ ; $tag$", 1),
            ("select $1; select $2", 2),
            ("select a$b$c; select 2", 2),
            ("select /* ; /* ; */ ; */ 1", 1),
            ("select 1 -- ; select 2", 1),
            ("select 1 -- a\n; select 2", 2),
            ("select 'never closed; select 2", 1),
            ("/* never closed ; select 2", 0),
            ("select é';', $é$;$é$", 1),
            (r"select u&'\';'", 2),
            ("select e'a'\n'\\'; select 2'", 1),
            ("select e'a' -- '\n'\\'; select 2'", 1),
            ("select e'a' '\\'; select 2", 2),
            ("select e'a' /*\n*/ '\\'; select 2", 2),
            ("select $a; select $b$;$b$", 2),
        ] {
            assert_eq!(statements(text), count, "{text}");
        }
    }

    #[test]
    fn a_number_ends_before_a_word() {
        for text in ["1into", "1.into", "1.5into", "1e5into", "1.5E-3into", "$1into"] {
            assert_eq!(Lexer::new(text).nth(1), Some(Token::Word("into")), "{text}");
        }
        assert_eq!(Lexer::new("1einto").nth(1), Some(Token::Word("einto")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_stand_still(text in r#"[ -~'"$;/*\\eE\nü-]{0,60}"#) {
            assert!(Lexer::new(&text).count() <= text.len());
        }
    }
}
