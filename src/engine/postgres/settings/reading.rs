//! Whether a statement may change how the next text is read.

use super::is_among;
use super::question::question;
use crate::engine::Name;
use crate::engine::postgres::lexer::Lexer;
use crate::engine::token::{Token, is};

/// How texts are read: where a string ends, and which bytes are one character.
const READING: [&str; 3] = ["standard_conforming_strings", "backslash_quote", "client_encoding"];

/// Whether a statement that sets something may change how the next text is read: another statement than its words tell may be in
/// that, which leaves anything behind.
pub(in crate::engine::postgres) fn may_change_reading(statement: &str) -> bool {
    let mut last = Token::End;
    for token in Lexer::new(statement) {
        let is_scope = ["set", "session", "local"].iter().any(|word| is(last, word));
        let names = match token {
            Token::Word(name) | Token::Identifier(name) | Token::String(name) => {
                is_among(Name(name, None), &READING) || is_scope && name.eq_ignore_ascii_case("names")
            }
            _ => false,
        };
        if names {
            return true;
        }
        last = token;
    }
    // The server is asked before it, and then the answer is read likewise.
    hides_its_name(statement) && question(statement).is_none()
}

/// Whether the name of what a `set_config` sets does not stand there, as one constant and as it is.
fn hides_its_name(statement: &str) -> bool {
    let mut tokens = Lexer::new(statement);
    let mut last = Token::End;
    while let Some(token) = tokens.next() {
        let is_call = token == Token::Symbol(b'(')
            && matches!(last, Token::Word(name) | Token::Identifier(name) if name.eq_ignore_ascii_case("set_config"));
        if is_call && !tells_its_name(statement, tokens.clone()) {
            return true;
        }
        last = token;
    }
    false
}

/// Whether the first argument of a call is one constant, without a prefix by which it is read otherwise; cast to a text, or not.
fn tells_its_name(statement: &str, mut tokens: Lexer<'_>) -> bool {
    let begins_plainly = statement.get(tokens.at()..).is_some_and(|rest| rest.trim_start().starts_with('\''));
    if !begins_plainly || !matches!(tokens.next(), Some(Token::String(name)) if !name.contains('\\')) {
        return false;
    }
    let mut next = tokens.next();
    if next == Some(Token::Symbol(b':')) {
        let is_text = tokens.next() == Some(Token::Symbol(b':')) && tokens.next().is_some_and(|name| is(name, "text"));
        next = tokens.next().filter(|_| is_text);
    }
    next == Some(Token::Symbol(b','))
}
