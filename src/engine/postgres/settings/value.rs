//! Settings that move or not by the value that they are given.

use super::{TEMPORARY, is_among};
use crate::engine::Name;
use crate::engine::postgres::lexer::Lexer;
use crate::engine::token::{Token, has_letters, is};
use crate::pin::PinCause;

/// Settings that the login has fixed, and the values that are the same as the login's: to set them again changes nothing, in
/// this session or the next. Every dump begins with both.
pub(super) const FIXED: [(&str, &[&str]); 3] = [
    ("client_encoding", &["utf8", "unicode"]),
    ("names", &["utf8", "unicode"]),
    ("standard_conforming_strings", &["on", "true", "yes", "1"]),
];

/// The setting whose value is looked up by the path, at the moment at which it is set: the same words may be another value
/// for another session, and for the same one later.
pub(super) const LOOKED_UP: &str = "default_text_search_config";

/// Whether what comes after a name sets it to what the login has [fixed](FIXED): one value, and nothing else.
pub(super) fn is_as_fixed(name: Name<'_>, mut rest: Lexer<'_>) -> bool {
    let mut value = rest.next();
    // `SET NAMES 'UTF8'` has no sign in between.
    if !is_among(name, &["names"]) {
        if value != Some(Token::Symbol(b'=')) && !value.is_some_and(|token| is(token, "to")) {
            return false;
        }
        value = rest.next();
    }
    let (Some(Token::Word(value) | Token::Identifier(value) | Token::String(value)), None) = (value, rest.next())
    else {
        return false;
    };
    is_fixed_value(name, value)
}

pub(super) fn is_fixed_value(name: Name<'_>, value: &str) -> bool {
    let Some((known, values)) = FIXED.iter().find(|(known, _)| is_among(name, &[known])) else { return false };
    // Of an encoding's name the server looks at letters and digits only. A backslash may be an escape.
    let loose = *known != "standard_conforming_strings";
    let bytes = || value.bytes().filter(|byte| !loose || byte.is_ascii_alphanumeric());
    !value.contains('\\') && values.iter().any(|known| bytes().map(|byte| byte.to_ascii_lowercase()).eq(known.bytes()))
}

/// Whether a literal's value is the [fixed](FIXED) one.
pub(super) fn is_fixed_literal(name: Name<'_>, literal: &str) -> bool {
    let mut tokens = Lexer::new(literal);
    matches!((tokens.next(), tokens.next()), (Some(Token::String(value)), None) if is_fixed_value(name, value))
}

/// Why a value cannot be set again elsewhere with the same effect.
pub(super) fn unmoved_value(name: Name<'_>, local: bool, value: Lexer<'_>) -> Option<PinCause> {
    if is_among(name, &["search_path"]) {
        return unmoved_path(value);
    }
    let moves = local
        || if is_among(name, &["datestyle"]) {
            date_style(value) == (true, true)
        } else {
            !is_among(name, &[LOOKED_UP]) || is_qualified(value)
        };
    (!moves).then_some(PinCause::Setting)
}

/// What is created where the path leads to `pg_temp` is temporary, and nothing in its statement says so.
pub(super) fn unmoved_path(value: Lexer<'_>) -> Option<PinCause> {
    let mut cause = None;
    let mut last = Token::End;
    for token in value {
        match token {
            // Constants with a line's end between them are one, of which neither says what it is.
            Token::String(_) if matches!(last, Token::String(_)) => return Some(PinCause::UnknownStatement),
            // U&'…' and U&"…" spell any name by escapes; so does E'…'.
            Token::Symbol(b'&') => cause = cause.or(Some(PinCause::Setting)),
            Token::String(text) if text.contains('\\') => {
                cause = cause.or(Some(PinCause::Setting));
            }
            Token::Word(text) | Token::Identifier(text) | Token::String(text) if mentions_temporary(text) => {
                // No statement that ends a pin takes it back: the next table would be everybody's.
                return Some(PinCause::UnknownStatement);
            }
            _ => {}
        }
        last = token;
    }
    cause
}

/// Whether a name says its schema itself, or is `DEFAULT`: then no path has a say.
pub(super) fn is_qualified(mut value: Lexer<'_>) -> bool {
    let is_plain =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let schema = match value.next() {
        Some(Token::Word(word)) if word.eq_ignore_ascii_case("default") => return value.next().is_none(),
        Some(Token::String(text)) => match text.split_once('.') {
            Some((schema, name)) if is_plain(name) => schema,
            _ => return false,
        },
        Some(Token::Word(schema)) => {
            let (dot, name) = (value.next(), value.next());
            let named = matches!((dot, name), (Some(Token::Symbol(b'.')), Some(Token::Word(name))) if is_plain(name));
            if !named {
                return false;
            }
            schema
        }
        _ => return false,
    };
    value.next().is_none() && is_plain(schema) && !mentions_temporary(schema)
}

pub(super) fn mentions_temporary(text: &str) -> bool {
    has_letters(text, TEMPORARY)
}

/// Which parts of a date style a value says, the format and the order: the other one is left as it was.
pub(super) fn date_style(value: Lexer<'_>) -> (bool, bool) {
    let (mut format, mut order) = (false, false);
    for token in value {
        let (Token::Word(text) | Token::Identifier(text) | Token::String(text)) = token else { continue };
        for part in text.split(|c: char| !c.is_ascii_alphabetic()) {
            let is = |known: &[&str]| known.iter().any(|known| part.eq_ignore_ascii_case(known));
            format |= is(&["iso", "sql", "postgres", "postgresql", "german", "default"]);
            order |= is(&["ymd", "dmy", "mdy", "us", "european", "noneuropean", "german", "default"]);
        }
    }
    (format, order)
}
