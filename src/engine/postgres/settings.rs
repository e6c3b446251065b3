//! `SET`, `RESET` and `set_config`: which setting they change, and how to take a connection from one set of settings to
//! another.
//!
//! Grammar: <https://www.postgresql.org/docs/current/sql-set.html>, `sql-reset`, `sql-set-role`,
//! `sql-set-session-authorization`.

mod call;
mod path;
mod question;
mod reading;
mod replay;
mod staleness;
mod value;
mod wording;

use self::call::{Argument, Call, calls, plain_name};
use self::staleness::staleness_by;
use self::value::{LOOKED_UP, is_as_fixed, is_fixed_literal, unmoved_value};
use super::control::LONGEST_NAME;
use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Name, Setting, Staleness};
use crate::pin::PinCause;

pub(super) use self::path::may_mislead;
pub(super) use self::question::{question, quoted_text, spelled};
pub(super) use self::reading::may_change_reading;
pub(super) use self::replay::{after_reset, replay};
pub(super) use self::staleness::staleness;
pub(super) use self::wording::settings_of;

/// The session's temporary schema, by its alias and by its own name.
pub(super) const TEMPORARY: &str = "pg_temp";

const ROLE: &str = "role";
const AUTHORIZATION: &str = "session_authorization";

/// Settings that are not moved: two change how a text is read, one what the driver reads, a seed is used up, and some are
/// other names of a setting, which would be replayed in the wrong order.
const NOT_MOVED: [&str; 8] = [
    "standard_conforming_strings",
    "backslash_quote",
    "client_encoding",
    "names",
    "seed",
    "sort_mem",
    "vacuum_mem",
    "force_parallel_mode",
];

/// Settings of the transaction, whatever they are set with.
const OF_TRANSACTION: [&str; 3] = ["transaction_isolation", "transaction_read_only", "transaction_deferrable"];

/// Settings that move or not by their value.
const BY_VALUE: [&str; 3] = ["search_path", "datestyle", LOOKED_UP];

/// What a statement does to settings, if that is all it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// It lasts beyond the transaction.
    Lasting(Setting<'a>),
    /// It ends with the transaction, and this is what it makes of what is prepared.
    Passing(Staleness),
    /// It cannot be moved.
    Pins(PinCause),
}

/// A longer statement is not taken apart: no session carries as much, and each of several looks goes over all of it.
const LONGEST: usize = 64 * 1024;

/// `None` when the statement is something else, or a change that is not understood.
pub(super) fn change(statement: &str) -> Option<Change<'_>> {
    let mut tokens = Lexer::new(statement);
    match tokens.next()? {
        first if statement.len() > LONGEST => {
            let sets = is(first, "set") || is(first, "reset");
            sets.then(|| {
                Change::Pins(if names_beyond(tokens) { PinCause::UnknownStatement } else { PinCause::Setting })
            })
        }
        first if is(first, "set") => set(statement, tokens),
        first if is(first, "reset") => reset(tokens),
        first if is(first, "select") => set_config(statement, tokens),
        _ => None,
    }
}

fn set<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let mut token = tokens.next()?;
    if begins(token, "transaction", &tokens) || begins(token, "constraints", &tokens) {
        return Some(Change::Passing(Staleness::Fresh));
    }
    let local = begins(token, "local", &tokens);
    if local {
        token = tokens.next()?;
    }
    if begins(token, "session", &tokens) {
        token = tokens.next()?;
        // Forms of their own, and no settings of that name.
        if is(token, "authorization") {
            return identity(statement, AUTHORIZATION, Some("default"), local, tokens);
        }
        // The scope, and the first word of `SESSION CHARACTERISTICS`.
        if is(token, "session") && tokens.clone().next().is_some_and(|next| is(next, "characteristics")) {
            token = tokens.next()?;
        }
    }
    if begins(token, "characteristics", &tokens) {
        return characteristics(statement, local, tokens);
    }
    if ["xml", "catalog"].iter().any(|word| begins(token, word, &tokens)) {
        return None;
    }
    if begins(token, "role", &tokens) {
        return identity(statement, ROLE, None, local, tokens);
    }
    let form = if begins(token, "time", &tokens) {
        Form::Zone
    } else if begins(token, "schema", &tokens) {
        Form::Schema
    } else {
        Form::Name
    };
    let name = match form {
        Form::Zone if is(tokens.next()?, "zone") => Name("timezone", None),
        Form::Zone => return None,
        Form::Schema => Name("search_path", None),
        Form::Name => dotted(token, &mut tokens)?,
    };
    to_value(statement, name, form, local, tokens)
}

/// How `SET` says what it sets: `SET TIME ZONE x`, `SET SCHEMA 'x'`, or by a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Zone,
    Schema,
    Name,
}

/// What comes after what is set.
fn to_value<'a>(
    statement: &'a str,
    name: Name<'a>,
    form: Form,
    local: bool,
    mut tokens: Lexer<'a>,
) -> Option<Change<'a>> {
    if is_as_fixed(name, tokens.clone()) {
        return Some(Change::Passing(Staleness::Fresh));
    }
    if is_among(name, &NOT_MOVED) || is_cut(name) {
        return Some(Change::Pins(unmoved(name)));
    }
    // Only the forms of their own have no `TO`; anything else without is not understood.
    let first = tokens.clone().next()?;
    if first == Token::Symbol(b'=') || is(first, "to") {
        tokens.next();
    } else if form == Form::Name {
        return None;
    }
    if let Some(cause) = unmoved_value(name, local, tokens.clone()) {
        return Some(Change::Pins(cause));
    }
    let value = tokens.next()?;
    if is_among(name, &OF_TRANSACTION) {
        return Some(Change::Passing(Staleness::Fresh));
    }
    if local {
        return Some(Change::Passing(staleness_by(&name.key())));
    }
    let to_default = is(value, "default") || form == Form::Zone && is(value, "local");
    Some(Change::Lasting(if to_default && tokens.next().is_none() {
        Setting::Reset(name)
    } else {
        Setting::Set { name, statement }
    }))
}

/// The settings that `TRANSACTION` and its modes stand for.
const CHARACTERISTICS: [&str; 3] =
    ["default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"];

/// `CHARACTERISTICS AS TRANSACTION mode [, …]`, which sets up to three settings.
fn characteristics<'a>(statement: &'a str, local: bool, tokens: Lexer<'a>) -> Option<Change<'a>> {
    let modes = modes(tokens)?;
    let (first, _) = *modes.first()?;
    if local {
        return Some(Change::Passing(modes.iter().map(|(name, _)| staleness_by(name)).max().unwrap_or_default()));
    }
    let single = modes.iter().all(|(name, _)| *name == first);
    Some(Change::Lasting(if single {
        Setting::Set { name: Name(first, None), statement }
    } else {
        Setting::Several(statement)
    }))
}

/// The modes after `CHARACTERISTICS`, as the settings that they are: <https://www.postgresql.org/docs/current/sql-set-transaction.html>.
fn modes(mut tokens: Lexer<'_>) -> Option<Vec<(&'static str, &'static str)>> {
    if !is(tokens.next()?, "as") || !is(tokens.next()?, "transaction") {
        return None;
    }
    let [isolation, read_only, deferrable] = CHARACTERISTICS;
    let mut modes = Vec::new();
    let mut next = tokens.next();
    while let Some(token) = next {
        modes.push(match token {
            _ if is(token, "isolation") => {
                if !is(tokens.next()?, "level") {
                    return None;
                }
                let (first, level) = (tokens.next()?, isolation);
                match first {
                    _ if is(first, "serializable") => (level, "serializable"),
                    _ if is(first, "repeatable") => is(tokens.next()?, "read").then_some((level, "repeatable read"))?,
                    _ if is(first, "read") => match tokens.next()? {
                        second if is(second, "committed") => (level, "read committed"),
                        second if is(second, "uncommitted") => (level, "read uncommitted"),
                        _ => return None,
                    },
                    _ => return None,
                }
            }
            _ if is(token, "read") => match tokens.next()? {
                second if is(second, "only") => (read_only, "on"),
                second if is(second, "write") => (read_only, "off"),
                _ => return None,
            },
            _ if is(token, "deferrable") => (deferrable, "on"),
            _ if is(token, "not") => is(tokens.next()?, "deferrable").then_some((deferrable, "off"))?,
            _ => return None,
        });
        next = tokens.next();
        if next == Some(Token::Symbol(b',')) {
            next = Some(tokens.next()?);
        }
    }
    (!modes.is_empty()).then_some(modes)
}

/// What changes how texts are read may hide anything, and no reset takes a seed back.
const BEYOND: [&str; 3] = ["standard_conforming_strings", "backslash_quote", "seed"];

/// Why one of [`NOT_MOVED`] pins.
fn unmoved(name: Name<'_>) -> PinCause {
    if is_among(name, &BEYOND) { PinCause::UnknownStatement } else { PinCause::Setting }
}

/// Whether one of [`BEYOND`] is where a statement has the name of what it sets, after up to two words of its scope.
fn names_beyond(tokens: Lexer<'_>) -> bool {
    tokens.take(3).any(|token| match token {
        Token::Word(name) | Token::Identifier(name) => is_among(Name(name, None), &BEYOND),
        _ => false,
    })
}

/// Whether the server cuts the name where it is an identifier: by then it is another setting's.
fn is_cut(name: Name<'_>) -> bool {
    name.0.len() > LONGEST_NAME || name.1.is_some_and(|rest| rest.len() > LONGEST_NAME)
}

/// Whether a word of the grammar stands here: before a dot it is the first part of a custom setting's name.
fn begins(token: Token<'_>, word: &str, rest: &Lexer<'_>) -> bool {
    is(token, word) && rest.clone().next() != Some(Token::Symbol(b'.'))
}

fn is_among(name: Name<'_>, names: &[&str]) -> bool {
    name.1.is_none() && names.iter().any(|known| name.0.eq_ignore_ascii_case(known))
}

/// `ROLE x` and `SESSION AUTHORIZATION x`.
fn identity<'a>(
    statement: &'a str,
    name: &'static str,
    none: Option<&str>,
    local: bool,
    mut tokens: Lexer<'a>,
) -> Option<Change<'a>> {
    let mut value = tokens.next()?;
    if local {
        return Some(Change::Passing(Staleness::Names));
    }
    if value == Token::Symbol(b'=') || is(value, "to") {
        value = tokens.next()?;
    }
    let name = Name(name, None);
    // `NONE` is no reset: a login may have been given a role of its own (`ALTER ROLE … SET role`), and that is given up.
    let resets = none.is_some_and(|none| is(value, none));
    Some(Change::Lasting(if resets { Setting::Reset(name) } else { Setting::Set { name, statement } }))
}

/// A name with up to one dot, and in the lexer's place what comes after it.
fn dotted<'a>(first: Token<'a>, tokens: &mut Lexer<'a>) -> Option<Name<'a>> {
    let (Token::Word(first) | Token::Identifier(first)) = first else { return None };
    let mut ahead = tokens.clone();
    if ahead.next() != Some(Token::Symbol(b'.')) {
        return Some(Name(first, None));
    }
    let (Token::Word(second) | Token::Identifier(second)) = ahead.next()? else { return None };
    *tokens = ahead;
    Some(Name(first, Some(second)))
}

fn reset<'a>(mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let token = tokens.next()?;
    let name = if is(token, "all") {
        return Some(Change::Lasting(Setting::ResetAll));
    } else if begins(token, "time", &tokens) {
        Name("timezone", None)
    } else if begins(token, "session", &tokens) {
        Name(AUTHORIZATION, None)
    } else if begins(token, "transaction", &tokens) {
        return Some(Change::Passing(Staleness::Fresh));
    } else {
        dotted(token, &mut tokens)?
    };
    if is_among(name, &NOT_MOVED) || is_cut(name) {
        return Some(Change::Pins(unmoved(name)));
    }
    if is_among(name, &OF_TRANSACTION) {
        return Some(Change::Passing(Staleness::Fresh));
    }
    Some(Change::Lasting(Setting::Reset(name)))
}

/// `select [pg_catalog.]set_config('name', 'value', true|false), …` and nothing else: only then is it known to run once.
/// Any number that end with the transaction, whatever their values; or any number that last, with values that the text tells.
fn set_config<'a>(statement: &'a str, tokens: Lexer<'a>) -> Option<Change<'a>> {
    let mut lasting = None;
    let mut passing = None;
    for Call { name, value, local } in calls(statement, tokens)? {
        let (Argument::Text(name), Argument::Flag(local)) = (name, local) else { return None };
        let name = plain_name(name)?;
        let moves = !is_among(name, &NOT_MOVED);
        match value {
            Argument::Text(value) if !moves && is_fixed_literal(name, value) => {
                passing = passing.max(Some(Staleness::Fresh));
                continue;
            }
            Argument::Text(value) if moves => {
                if let Some(cause) = unmoved_value(name, local, Lexer::new(value)) {
                    return Some(Change::Pins(cause));
                }
            }
            // One that moves like any other, unless its value says otherwise.
            Argument::Given(_) if moves && local && !is_among(name, &BY_VALUE) => {}
            _ => return None,
        }
        if local {
            passing = passing.max(Some(staleness_by(&name.key())));
        } else if is_among(name, &OF_TRANSACTION) {
            passing = passing.max(Some(Staleness::Fresh));
        } else if lasting.is_some() {
            lasting = Some(Setting::Several(statement));
        } else {
            lasting = Some(Setting::Set { name, statement });
        }
    }
    match (lasting, passing) {
        (None, passing) => Some(Change::Passing(passing?)),
        (Some(setting), None) => Some(Change::Lasting(setting)),
        // What one of them lets pass the other keeps.
        (Some(_), Some(_)) => None,
    }
}

#[cfg(test)]
mod tests;
