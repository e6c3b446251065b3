//! What the server is asked where a text does not tell what it sets.

use super::call::{Argument, Call, calls, plain_name};
use super::replay::quoted;
use super::value::date_style;
use super::{LONGEST, begins, dotted, is_among};
use crate::engine::Question;
use crate::engine::postgres::lexer::Lexer;
use crate::engine::token::{Token, is};

/// What the server has to be asked before a statement that changes settings in a way which its text does not tell: the
/// parameters of a `set_config`, or the date style of which a part is kept. `None` where no answer would help.
pub(in crate::engine::postgres) fn question(statement: &str) -> Option<Question> {
    if statement.len() > LONGEST {
        return None;
    }
    let mut tokens = Lexer::new(statement);
    let first = tokens.next()?;
    if half_of_date_style(statement).is_some() {
        return Some(Question { text: "SHOW DateStyle".to_owned(), given: false });
    }
    if !is(first, "select") {
        return None;
    }
    let calls = calls(statement, tokens)?;
    let given: Vec<_> = calls.iter().flat_map(Call::given).map(|given| format!("({given})::pg_catalog.text")).collect();
    (!given.is_empty()).then(|| Question { text: format!("SELECT {}", given.join(", ")), given: true })
}

/// The same statement, with the server's answers in the place of what it does not tell.
pub(in crate::engine::postgres) fn spelled(statement: &str, answers: &[Option<String>]) -> Option<String> {
    if let Some((value, (format, _))) = half_of_date_style(statement) {
        let [Some(now)] = answers else { return None };
        let (its_format, its_order) = now.split_once(", ")?;
        let rest = if format { its_order } else { its_format };
        return Some(format!("SET datestyle TO '{value}, {rest}'"));
    }
    let mut tokens = Lexer::new(statement);
    if !is(tokens.next()?, "select") {
        return None;
    }
    let calls = calls(statement, tokens)?;
    let single = calls.len() == 1;
    let mut answers = answers.iter();
    let mut spelled = Vec::new();
    for Call { name, value, local } in calls {
        let mut text = |argument: Argument<'_>| match argument {
            Argument::Text(text) => Some(Some(text.to_owned())),
            Argument::Flag(flag) => Some(Some(flag.to_string())),
            Argument::Given(_) => answers.next().map(|answer| answer.as_ref().map(|text| quoted_text(text))),
        };
        let (name, value, local) = (text(name)??, text(value)?, text(local)?);
        // Nothing is no; and a parameter of this type comes as a text.
        let local = local.is_some_and(|local| local.trim_matches('\'') == "true");
        match value {
            Some(value) => spelled.push(format!("set_config({name}, {value}, {local})")),
            // No value is the one of the login.
            None if single => {
                let scope = if local { "LOCAL " } else { "" };
                return Some(format!("SET {scope}{} TO DEFAULT", quoted(&plain_name(&name)?.key())));
            }
            None => return None,
        }
    }
    Some(format!("SELECT {}", spelled.join(", ")))
}

impl<'a> Call<'a> {
    /// The arguments that its text does not tell.
    fn given(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        [self.name, self.value, self.local].into_iter().filter_map(|argument| match argument {
            Argument::Given(given) => Some(given),
            Argument::Text(_) | Argument::Flag(_) => None,
        })
    }
}

/// The value of a statement that sets one part of the date style and keeps the other, and which parts it says.
pub(super) fn half_of_date_style(statement: &str) -> Option<(String, (bool, bool))> {
    let mut tokens = Lexer::new(statement);
    let mut token = tokens.next()?;
    let value = if is(token, "select") {
        let calls = calls(statement, tokens)?;
        let [Call { name: Argument::Text(name), value: Argument::Text(value), local: Argument::Flag(false) }] =
            calls[..]
        else {
            return None;
        };
        if !is_among(plain_name(name)?, &["datestyle"]) {
            return None;
        }
        Lexer::new(value)
    } else if is(token, "set") {
        token = tokens.next()?;
        if begins(token, "session", &tokens) {
            token = tokens.next()?;
        }
        if !is_among(dotted(token, &mut tokens)?, &["datestyle"]) {
            return None;
        }
        let sign = tokens.next()?;
        if sign != Token::Symbol(b'=') && !is(sign, "to") {
            return None;
        }
        tokens
    } else {
        return None;
    };
    let said = date_style(value.clone());
    let mut parts = Vec::new();
    for token in value {
        match token {
            Token::Word(part) | Token::Identifier(part) | Token::String(part) if !part.contains(['\\', '\'']) => {
                parts.push(part);
            }
            Token::Symbol(b',') => {}
            _ => return None,
        }
    }
    (said.0 != said.1).then(|| (parts.join(", "), said))
}

/// A text as a standard string.
pub(in crate::engine::postgres) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
