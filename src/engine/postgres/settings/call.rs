//! `SELECT set_config(…), …`: the calls, and what their arguments tell.

use crate::engine::Name;
use crate::engine::postgres::control::LONGEST_NAME;
use crate::engine::postgres::lexer::Lexer;
use crate::engine::token::{Token, is};

/// An argument of `set_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument<'a> {
    /// A string, as it is written.
    Text(&'a str),
    /// `true` or `false`.
    Flag(bool),
    /// A parameter and what it is cast to, as they are written.
    Given(&'a str),
}

/// One call of `set_config`.
pub(super) struct Call<'a> {
    pub(super) name: Argument<'a>,
    pub(super) value: Argument<'a>,
    pub(super) local: Argument<'a>,
}

/// The calls of `set_config` that a list consists of, where it consists of nothing else.
pub(super) fn calls<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Vec<Call<'a>>> {
    let mut calls = Vec::new();
    loop {
        calls.push(call(statement, &mut tokens)?);
        match tokens.next() {
            None => return Some(calls),
            Some(Token::Symbol(b',')) => {}
            Some(_) => return None,
        }
    }
}

pub(super) fn call<'a>(statement: &'a str, tokens: &mut Lexer<'a>) -> Option<Call<'a>> {
    let mut name = tokens.next()?;
    if is(name, "pg_catalog") {
        if tokens.next()? != Token::Symbol(b'.') {
            return None;
        }
        name = tokens.next()?;
    }
    if !is(name, "set_config") || tokens.next()? != Token::Symbol(b'(') {
        return None;
    }
    let (name, value) = (argument(statement, tokens, b',')?, argument(statement, tokens, b',')?);
    let local = argument(statement, tokens, b')')?;
    let understood = !matches!(name, Argument::Flag(_))
        && !matches!(value, Argument::Flag(_))
        && !matches!(local, Argument::Text(_));
    understood.then_some(Call { name, value, local })
}

/// Types of the server's own: a cast to them calls nothing of anybody's.
pub(super) const PLAIN_TYPES: [&str; 10] =
    ["text", "varchar", "int", "int4", "int8", "bigint", "integer", "uuid", "bool", "boolean"];

/// A literal or a parameter, up to the sign that ends it.
pub(super) fn argument<'a>(statement: &'a str, tokens: &mut Lexer<'a>, end: u8) -> Option<Argument<'a>> {
    let start = tokens.at();
    let slice = |until: usize| Some(statement.get(start..until)?.trim());
    let token = tokens.next()?;
    let mut argument = match token {
        Token::String(_) => Argument::Text(slice(tokens.at())?),
        Token::Word(word) if word.starts_with('$') => Argument::Given(slice(tokens.at())?),
        _ if is(token, "true") => Argument::Flag(true),
        _ if is(token, "false") => Argument::Flag(false),
        _ => return None,
    };
    loop {
        match tokens.next()? {
            Token::Symbol(sign) if sign == end => return Some(argument),
            Token::Symbol(b':') if tokens.next()? == Token::Symbol(b':') => {
                let Token::Word(name) = tokens.next()? else { return None };
                // A text that is cast to another type may be another text.
                let known = if matches!(argument, Argument::Given(_)) { &PLAIN_TYPES[..] } else { &PLAIN_TYPES[..2] };
                if !known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
                    return None;
                }
                if matches!(argument, Argument::Given(_)) {
                    argument = Argument::Given(slice(tokens.at())?);
                }
            }
            _ => return None,
        }
    }
}

/// The name that a literal spells, if it is one that can be moved.
pub(super) fn plain_name(literal: &str) -> Option<Name<'_>> {
    let mut tokens = Lexer::new(literal);
    let (Some(Token::String(setting)), None) = (tokens.next(), tokens.next()) else { return None };
    let plain = !setting.is_empty() && setting.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    // A text is not cut, and what resets it is.
    let whole = !setting.splitn(2, '.').any(|part| part.len() > LONGEST_NAME);
    (plain && whole).then_some(Name(setting, None))
}
