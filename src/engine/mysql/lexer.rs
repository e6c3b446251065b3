//! The words of a MySQL or MariaDB text: enough to tell statements apart, in one pass and without allocating.
//!
//! Rules: <https://dev.mysql.com/doc/refman/8.4/en/language-structure.html>,
//! <https://mariadb.com/kb/en/comment-syntax/>.
//!
//! How a text is read depends on what the text does not say: on the server's version, and on `sql_mode`, which the server's
//! configuration may have changed. So a text is read in each of these ways where it makes a difference ([`Reading`]).

use super::passing::passes_for_one_statement;
use crate::engine::cursor::{Cursor, is_blank, is_in_word};
use crate::engine::token::Token;

/// One way to read a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// A backslash takes the meaning from what follows it in `'…'`.
    escapes: bool,
    /// And in `"…"`, which `ANSI_QUOTES` makes an identifier.
    escapes_in_double: bool,
    /// `/*! … */` is no comment: its version is not above the server's.
    executes: bool,
}

impl Reading {
    /// As a server reads that is configured as it was delivered.
    pub(super) const USUAL: Self = Self { escapes: true, escapes_in_double: true, executes: true };

    /// The other ways.
    pub(super) const OTHERS: [Self; 5] = [
        Self { executes: false, ..Self::USUAL },
        Self { escapes_in_double: false, ..Self::USUAL },
        Self { escapes_in_double: false, executes: false, ..Self::USUAL },
        Self { escapes: false, escapes_in_double: false, executes: true },
        Self { escapes: false, escapes_in_double: false, executes: false },
    ];

    /// Whether a text in which the other reading has met these is read otherwise by this one.
    pub(super) fn differs(self, other: Self, met: Doubts) -> bool {
        self.escapes != other.escapes && met.escape
            || self.escapes_in_double != other.escapes_in_double && met.escape_in_double
            || self.executes != other.executes && met.gate
    }
}

/// What was met in a text that another reading reads otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Doubts {
    /// A backslash in `'…'`.
    escape: bool,
    /// One in `"…"`.
    escape_in_double: bool,
    /// A comment that may be executed.
    gate: bool,
}

/// An iterator over the tokens of a text. A quote or comment that is never closed swallows the rest: the server refuses
/// that.
#[derive(Debug, Clone)]
pub(super) struct Lexer<'a> {
    cursor: Cursor<'a>,
    reading: Reading,
    inside: bool,
    met: Doubts,
    /// Comments that may be executed.
    gates: usize,
    /// A hint may set what makes a comparison a question about what is remembered.
    hint: bool,
    /// A hint may leave the connection another one than it was.
    spoils: bool,
    /// `$$` or `$tag$`: MySQL 9 begins a string by it, to other servers it is the name of something.
    dollars: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self::reading(text, Reading::USUAL)
    }

    pub(super) fn reading(text: &'a str, reading: Reading) -> Self {
        Self {
            cursor: Cursor::new(text),
            reading,
            inside: false,
            met: Doubts::default(),
            gates: 0,
            hint: false,
            spoils: false,
            dollars: false,
        }
    }

    /// Another text, read in the same way.
    pub(super) fn of<'b>(&self, text: &'b str) -> Lexer<'b> {
        Lexer::reading(text, self.reading)
    }

    /// The next token and where it begins.
    #[inline]
    pub(super) fn next_at(&mut self) -> Option<(usize, Token<'a>)> {
        let first = self.skip_blanks()?;
        let start = self.cursor.at;
        Some((start, self.token(first)))
    }

    /// Where the token that was returned last ends.
    pub(super) fn at(&self) -> usize {
        self.cursor.at()
    }

    /// The token that was returned last stands in a comment that may be executed.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    /// What may be something else, read in another way, of what was read until now.
    pub(super) fn doubts(&self) -> Doubts {
        self.met
    }

    /// A hint was met after which the connection is not as it was.
    pub(super) fn has_met_spoiling_hint(&self) -> bool {
        self.spoils
    }

    /// A hint was met, up to the token that was returned last, that sets what no statement may be read by.
    pub(super) fn has_met_hint(&self) -> bool {
        self.hint
    }

    /// There are more ways to read it than are tried: servers may execute one part of it and not another, or take some of
    /// it for a string.
    pub(super) fn is_beyond_trying(&self) -> bool {
        self.gates > 1 || self.dollars
    }

    /// Passes over white space and comments, and returns the byte that follows.
    #[inline]
    fn skip_blanks(&mut self) -> Option<u8> {
        loop {
            let byte = self.cursor.byte(0)?;
            if is_blank(byte) {
                self.cursor.at += 1;
            } else if byte == b'#' || byte == b'-' && self.is_dash_comment() {
                self.cursor.skip_past_line(b"\n");
            } else if byte == b'/' && self.cursor.byte(1) == Some(b'*') {
                self.comment();
            } else if self.inside && self.cursor.starts_with(b"*/") {
                self.inside = false;
                self.cursor.at += 2;
            } else {
                return Some(byte);
            }
        }
    }

    /// `--`, and then a blank: `5--1` is six.
    fn is_dash_comment(&self) -> bool {
        self.cursor.byte(1) == Some(b'-')
            && self.cursor.byte(2).is_none_or(|byte| is_blank(byte) || byte.is_ascii_control())
    }

    /// Past a comment, or into one.
    fn comment(&mut self) {
        let opening = if self.cursor.starts_with(b"/*!") {
            3
        } else if self.cursor.starts_with(b"/*M!") {
            4
        } else {
            // What begins a comment in it means nothing.
            let start = self.cursor.at;
            self.cursor.skip_past_comment(1);
            let comment = self.cursor.slice(start, self.cursor.at);
            self.hint |= is_unfollowed_hint(comment);
            self.spoils |= is_spoiling_hint(comment);
            return;
        };
        self.met.gate = true;
        self.gates += 1;
        if !self.reading.executes {
            // One inside it is passed over with it.
            return self.cursor.skip_past_comment(2);
        }
        self.inside = true;
        self.cursor.at += opening;
        let digits = self.cursor.rest().iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        if digits >= 5 {
            self.cursor.at += digits;
        }
    }

    /// The most frequent first.
    #[inline]
    fn token(&mut self, first: u8) -> Token<'a> {
        if first.is_ascii_digit() {
            return Token::Word(self.number());
        }
        if is_in_word(first) {
            let word = self.cursor.word();
            self.dollars |= first == b'$' && word[1..].contains('$');
            return Token::Word(word);
        }
        match first {
            b'\'' => Token::String(self.string(first, self.reading.escapes)),
            // An identifier under `ANSI_QUOTES`.
            b'"' => Token::String(self.string(first, self.reading.escapes_in_double)),
            b'`' => Token::Identifier(self.cursor.quoted(first)),
            b'@' if self.cursor.byte(1) == Some(first) => {
                self.cursor.at += 2;
                Token::Word("@@")
            }
            _ => {
                self.cursor.at += 1;
                if first == b';' { Token::End } else { Token::Symbol(first) }
            }
        }
    }

    /// A word may begin with digits, and then it is no number: `1into`. After an exponent or a fraction it is another one.
    fn number(&mut self) -> &'a str {
        let start = self.cursor.at;
        self.cursor.skip_digits();
        if self.cursor.byte(0) == Some(b'.') {
            self.cursor.at += 1;
            self.cursor.skip_digits();
            self.cursor.skip_exponent();
        } else if !self.cursor.skip_exponent() {
            self.cursor.word();
        }
        self.cursor.slice(start, self.cursor.at)
    }

    /// Past a string whose opening quote is at the current place; returns what is inside.
    fn string(&mut self, quote: u8, escapes: bool) -> &'a str {
        self.cursor.at += 1;
        let start = self.cursor.at;
        while let Some(length) = self.cursor.position(|byte| byte == quote || byte == b'\\') {
            let is_escape = self.cursor.byte(length) == Some(b'\\');
            self.cursor.at += length + 1;
            if is_escape {
                if quote == b'"' {
                    self.met.escape_in_double = true;
                } else {
                    self.met.escape = true;
                }
                self.cursor.at += usize::from(escapes);
            } else if self.cursor.byte(0) == Some(quote) {
                self.cursor.at += 1;
            } else {
                return self.cursor.slice(start, self.cursor.at - 1);
            }
        }
        self.cursor.finish();
        self.cursor.slice(start, self.cursor.at)
    }
}

/// Whether a comment is a hint that sets `sql_auto_is_null` for its statement, or may: the server compares names without accents.
/// <https://dev.mysql.com/doc/refman/8.4/en/optimizer-hints.html#optimizer-hints-set-var>
fn is_unfollowed_hint(comment: &str) -> bool {
    let Some(hints) = comment.strip_prefix("/*+") else { return false };
    let hints = hints.to_ascii_lowercase();
    hints.contains("set_var") && (!hints.is_ascii() || hints.contains("is_null"))
}

/// Whether a comment is a hint that sets something for its statement of which more may stay than that statement has done: MySQL
/// 9.7 gives `insert_id` back as a zero, which the next row is stored with.
fn is_spoiling_hint(comment: &str) -> bool {
    let Some(hints) = comment.strip_prefix("/*+") else { return false };
    let hints = hints.to_ascii_lowercase();
    let mut set = hints.split("set_var").skip(1);
    set.any(|rest| {
        let name = rest.trim_start().strip_prefix('(').and_then(|rest| rest.split_once('='));
        name.is_none_or(|(name, _)| !passes_for_one_statement(name.trim().trim_matches('`')))
    })
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    #[inline]
    fn next(&mut self) -> Option<Token<'a>> {
        self.next_at().map(|(_, token)| token)
    }
}

#[cfg(test)]
mod tests;
