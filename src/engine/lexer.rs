//! The words of a PostgreSQL text: enough to tell statements apart, in one pass and without allocating.
//!
//! Rules: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>.

/// A piece of a text. Comments and white space are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A keyword, an identifier or a number, as written.
    Word(&'a str),
    /// A string constant: what stands between its quotes, as written.
    String(&'a str),
    /// A quoted identifier: what stands between its quotes, as written.
    Identifier(&'a str),
    /// `;`
    End,
    /// Any other character.
    Symbol(u8),
}

/// An iterator over the tokens of a text. A quote or comment that is never closed swallows the rest, as on the server.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it begins.
    pub(crate) fn next_at(&mut self) -> Option<(usize, Token<'a>)> {
        self.skip_blanks();
        let start = self.at;
        self.next().map(|token| (start, token))
    }

    /// Where the token that was returned last ends.
    pub(crate) fn at(&self) -> usize {
        self.at.min(self.text.len())
    }

    fn byte(&self, offset: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + offset).copied()
    }

    /// Passes over white space and comments; block comments nest.
    fn skip_blanks(&mut self) {
        loop {
            match (self.byte(0), self.byte(1)) {
                (Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'-'), Some(b'-')) => self.skip_past_line(),
                (Some(b'/'), Some(b'*')) => self.skip_past_comment(),
                _ => return,
            }
        }
    }

    fn skip_past_line(&mut self) {
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            if byte == b'\n' || byte == b'\r' {
                return;
            }
        }
    }

    fn skip_past_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.byte(0) {
            let pair = (byte, self.byte(1));
            if pair == (b'/', Some(b'*')) {
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
    fn quoted(&mut self, quote: u8, backslashes: bool) -> &'a str {
        self.at += 1;
        let start = self.at;
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            if byte == b'\\' && backslashes {
                self.at += 1;
            } else if byte == quote {
                if self.byte(0) != Some(quote) {
                    return &self.text[start..self.at - 1];
                }
                self.at += 1;
            }
        }
        self.text.get(start..).unwrap_or_default()
    }

    /// Past `$tag$ … $tag$`, if that is what begins here.
    fn skip_past_dollar_quote(&mut self) -> bool {
        let rest = &self.text[self.at..];
        let tag_length = rest[1..].bytes().position(|byte| !is_word(byte) || byte == b'$').unwrap_or(rest.len() - 1);
        let delimiter_length = tag_length + 2;
        let closed = rest.as_bytes().get(delimiter_length - 1) == Some(&b'$');
        if !closed || rest.as_bytes()[1].is_ascii_digit() {
            return false;
        }
        let (delimiter, body) = rest.split_at(delimiter_length);
        self.at = match body.find(delimiter) {
            Some(end) => self.at + delimiter_length + end + delimiter_length,
            None => self.text.len(),
        };
        true
    }

    fn word(&mut self) -> &'a str {
        let start = self.at;
        while self.byte(0).is_some_and(is_word) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }
}

/// A byte of a word, `$` included (it may stand inside an identifier); so is every byte of a non-ASCII letter.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_blanks();
        let first = self.byte(0)?;
        let token = match first {
            b'\'' => {
                // A standard string; where `standard_conforming_strings` is off the text counts as unknown anyway.
                Token::String(self.quoted(b'\'', false))
            }
            b'"' => Token::Identifier(self.quoted(b'"', false)),
            b'$' if self.skip_past_dollar_quote() => Token::String(""),
            b';' => {
                self.at += 1;
                Token::End
            }
            byte if is_word(byte) => {
                let word = self.word();
                // E'…' has escapes; B'…', X'…', N'…' and U&'…' end where a standard string does.
                if self.byte(0) == Some(b'\'') && word.eq_ignore_ascii_case("e") {
                    Token::String(self.quoted(b'\'', true))
                } else {
                    Token::Word(word)
                }
            }
            byte => {
                self.at += 1;
                Token::Symbol(byte)
            }
        };
        Some(token)
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
        ] {
            assert_eq!(statements(text), count, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic_or_stand_still(text in r#"[ -~'"$;/*\\eE\nü-]{0,60}"#) {
            assert!(Lexer::new(&text).count() <= text.len());
        }
    }
}
