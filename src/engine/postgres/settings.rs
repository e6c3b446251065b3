//! `SET`, `RESET` and `set_config`: which setting they change, and how to take a connection from one set of settings to
//! another.
//!
//! Grammar: <https://www.postgresql.org/docs/current/sql-set.html>, `sql-reset`, `sql-set-role`,
//! `sql-set-session-authorization`.

use super::control::LONGEST_NAME;
use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Name, Question, Setting, Settings, Staleness};
use crate::pin::PinCause;

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

/// Settings that the login has fixed, and the values that are the same as the login's: to set them again changes nothing, in
/// this session or the next. Every dump begins with both.
const FIXED: [(&str, &[&str]); 3] = [
    ("client_encoding", &["utf8", "unicode"]),
    ("names", &["utf8", "unicode"]),
    ("standard_conforming_strings", &["on", "true", "yes", "1"]),
];

/// Settings of the transaction, whatever they are set with.
const OF_TRANSACTION: [&str; 3] = ["transaction_isolation", "transaction_read_only", "transaction_deferrable"];

/// Settings by which no statement is read: how long it may take, who is told of it, what it may use. Any other one may be.
const OF_EXECUTION: [&str; 24] = [
    "application_name",
    "backend_flush_after",
    "client_min_messages",
    "commit_delay",
    "commit_siblings",
    "deadlock_timeout",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "log_duration",
    "log_lock_waits",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_min_messages",
    "log_statement",
    "maintenance_work_mem",
    "statement_timeout",
    "synchronous_commit",
    "temp_buffers",
    "temp_file_limit",
    "track_activities",
    "transaction_timeout",
    "work_mem",
];

/// Settings by which a name stands for one thing or another.
const NAMING: [&str; 3] = ["search_path", ROLE, AUTHORIZATION];

/// What a change of one setting makes of what is prepared. What an application calls its own, with a dot in it, is read by
/// `current_setting` alone, which is not computed ahead:
/// <https://www.postgresql.org/docs/current/xfunc-volatility.html>.
fn staleness_by(name: &str) -> Staleness {
    let among = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    if among(&NAMING) {
        Staleness::Names
    } else if among(&OF_EXECUTION) || name.contains('.') {
        Staleness::Fresh
    } else {
        Staleness::Plans
    }
}

pub(super) fn staleness(before: &Settings, after: &Settings) -> Staleness {
    if before == after {
        return Staleness::Fresh;
    }
    before.differences(after).map(staleness_by).max().unwrap_or_default()
}

/// The setting whose value is looked up by the path, at the moment at which it is set: the same words may be another value
/// for another session, and for the same one later.
const LOOKED_UP: &str = "default_text_search_config";

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

/// `None` when the statement is something else, or a change that is not understood.
pub(super) fn change(statement: &str) -> Option<Change<'_>> {
    let mut tokens = Lexer::new(statement);
    match tokens.next()? {
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
    let zone = begins(token, "time", &tokens);
    let schema = begins(token, "schema", &tokens);
    let name = if zone {
        if !is(tokens.next()?, "zone") {
            return None;
        }
        Name("timezone", None)
    } else if schema {
        Name("search_path", None)
    } else {
        dotted(token, &mut tokens)?
    };
    if is_as_fixed(name, tokens.clone()) {
        return Some(Change::Passing(Staleness::Fresh));
    }
    if is_among(name, &NOT_MOVED) || is_cut(name) {
        return Some(Change::Pins(unmoved(name)));
    }
    // `SET TIME ZONE x` and `SET SCHEMA 'x'` have no `TO`; anything else without is not understood.
    let first = tokens.clone().next()?;
    if first == Token::Symbol(b'=') || is(first, "to") {
        tokens.next();
    } else if !zone && !schema {
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
    let to_default = is(value, "default") || zone && is(value, "local");
    Some(Change::Lasting(if to_default && tokens.next().is_none() {
        Setting::Reset(name)
    } else {
        Setting::Set { name, statement }
    }))
}

/// Whether what comes after a name sets it to what the login has [fixed](FIXED): one value, and nothing else.
fn is_as_fixed(name: Name<'_>, mut rest: Lexer<'_>) -> bool {
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

fn is_fixed_value(name: Name<'_>, value: &str) -> bool {
    let Some((known, values)) = FIXED.iter().find(|(known, _)| is_among(name, &[known])) else { return false };
    // Of an encoding's name the server looks at letters and digits only. A backslash may be an escape.
    let loose = *known != "standard_conforming_strings";
    let bytes = || value.bytes().filter(|byte| !loose || byte.is_ascii_alphanumeric());
    !value.contains('\\') && values.iter().any(|known| bytes().map(|byte| byte.to_ascii_lowercase()).eq(known.bytes()))
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

/// Why one of [`NOT_MOVED`] pins: what changes how texts are read may hide anything, and no reset takes a seed back.
fn unmoved(name: Name<'_>) -> PinCause {
    let beyond = is_among(name, &["standard_conforming_strings", "backslash_quote", "seed"]);
    if beyond { PinCause::UnknownStatement } else { PinCause::Setting }
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

/// Why a value cannot be set again elsewhere with the same effect.
fn unmoved_value(name: Name<'_>, local: bool, value: Lexer<'_>) -> Option<PinCause> {
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
fn unmoved_path(value: Lexer<'_>) -> Option<PinCause> {
    let mut cause = None;
    for token in value {
        match token {
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
    }
    cause
}

/// Whether a name says its schema itself, or is `DEFAULT`: then no path has a say.
fn is_qualified(mut value: Lexer<'_>) -> bool {
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

fn mentions_temporary(text: &str) -> bool {
    text.as_bytes().windows(TEMPORARY.len()).any(|part| part.eq_ignore_ascii_case(TEMPORARY.as_bytes()))
}

/// Which parts of a date style a value says, the format and the order: the other one is left as it was.
fn date_style(value: Lexer<'_>) -> (bool, bool) {
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

/// Whether a literal's value is the [fixed](FIXED) one.
fn is_fixed_literal(name: Name<'_>, literal: &str) -> bool {
    let mut tokens = Lexer::new(literal);
    matches!((tokens.next(), tokens.next()), (Some(Token::String(value)), None) if is_fixed_value(name, value))
}

/// An argument of `set_config`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument<'a> {
    /// A string, as it is written.
    Text(&'a str),
    /// `true` or `false`.
    Flag(bool),
    /// A parameter and what it is cast to, as they are written.
    Given(&'a str),
}

/// One call of `set_config`.
struct Call<'a> {
    name: Argument<'a>,
    value: Argument<'a>,
    local: Argument<'a>,
}

/// The calls of `set_config` that a list consists of, where it consists of nothing else.
fn calls<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Vec<Call<'a>>> {
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

fn call<'a>(statement: &'a str, tokens: &mut Lexer<'a>) -> Option<Call<'a>> {
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
const PLAIN_TYPES: [&str; 10] =
    ["text", "varchar", "int", "int4", "int8", "bigint", "integer", "uuid", "bool", "boolean"];

/// A literal or a parameter, up to the sign that ends it.
fn argument<'a>(statement: &'a str, tokens: &mut Lexer<'a>, end: u8) -> Option<Argument<'a>> {
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
fn plain_name(literal: &str) -> Option<Name<'_>> {
    let mut tokens = Lexer::new(literal);
    let (Some(Token::String(setting)), None) = (tokens.next(), tokens.next()) else { return None };
    let plain = !setting.is_empty() && setting.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    // A text is not cut, and what resets it is.
    let whole = !setting.splitn(2, '.').any(|part| part.len() > LONGEST_NAME);
    (plain && whole).then_some(Name(setting, None))
}

/// The setting that a statement changes for good, with a statement of this crate's own that sets it again.
///
/// Not the application's text: a function in it would be looked up in the `search_path` of whoever had the connection
/// before, and run as the login. `SET` calls no function.
pub(super) fn settings_of(statement: &str) -> Vec<(String, String)> {
    let Some(Change::Lasting(setting)) = change(statement) else { return Vec::new() };
    several(statement).unwrap_or_else(|| match setting {
        Setting::Set { name, .. } => {
            let key = name.key();
            let again = wording(statement, &key);
            again.map(|again| (key, again)).into_iter().collect()
        }
        _ => Vec::new(),
    })
}

/// The same for statements that may set more than one.
fn several(statement: &str) -> Option<Vec<(String, String)>> {
    let mut tokens = Lexer::new(statement);
    if is(tokens.next()?, "select") {
        let set = calls(statement, tokens)?.into_iter().map(|call| {
            let Call { name: Argument::Text(name), value: Argument::Text(value), .. } = call else { return None };
            let key = plain_name(name)?.key();
            let again = format!("SELECT pg_catalog.set_config('{key}', {value}::pg_catalog.text, false)");
            Some((key, again))
        });
        return set.collect();
    }
    while !is(tokens.next()?, "characteristics") {}
    let set = modes(tokens)?.into_iter();
    Some(set.map(|(name, value)| (name.to_owned(), format!("SET \"{name}\" TO '{value}'"))).collect())
}

fn wording(statement: &str, key: &str) -> Option<String> {
    let mut tokens = Lexer::new(statement);
    tokens.next()?;
    let mut token = tokens.next()?;
    let mut authorization = false;
    if begins(token, "session", &tokens) {
        token = tokens.next()?;
        authorization = is(token, "authorization");
    }
    let role = begins(token, "role", &tokens);
    let zone = begins(token, "time", &tokens);
    let schema = begins(token, "schema", &tokens);
    if zone {
        tokens.next()?;
    } else if !authorization && !role && !schema {
        dotted(token, &mut tokens)?;
    }
    let start = tokens.at();
    let mut ahead = tokens.clone();
    let first = ahead.next()?;
    let assigns = first == Token::Symbol(b'=') || is(first, "to");
    if assigns {
        tokens = ahead;
    }
    let start = if assigns { tokens.at() } else { start };
    let mut end = start;
    while tokens.next().is_some_and(|token| token != Token::End) {
        end = tokens.at();
    }
    let value = statement.get(start..end)?.trim_start();
    Some(match () {
        () if authorization => format!("SET SESSION AUTHORIZATION {value}"),
        () if assigns => format!("SET {} TO {value}", quoted(key)),
        () if role => format!("SET ROLE {value}"),
        () if zone => format!("SET TIME ZONE {value}"),
        () => format!("SET SCHEMA {value}"),
    })
}

/// What the server has to be asked before a statement that changes settings in a way which its text does not tell: the
/// parameters of a `set_config`, or the date style of which a part is kept. `None` where no answer would help.
pub(super) fn question(statement: &str) -> Option<Question> {
    let mut tokens = Lexer::new(statement);
    let first = tokens.next()?;
    if half_of_date_style(statement).is_some() {
        return Some(Question { text: "SELECT pg_catalog.current_setting('DateStyle')".to_owned(), given: false });
    }
    if !is(first, "select") {
        return None;
    }
    let calls = calls(statement, tokens)?;
    let given: Vec<_> = calls.iter().flat_map(Call::given).map(|given| format!("({given})::pg_catalog.text")).collect();
    (!given.is_empty()).then(|| Question { text: format!("SELECT {}", given.join(", ")), given: true })
}

/// The same statement, with the server's answers in the place of what it does not tell.
pub(super) fn spelled(statement: &str, answers: &[Option<String>]) -> Option<String> {
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
fn half_of_date_style(statement: &str) -> Option<(String, (bool, bool))> {
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
fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Settings on which it depends what those after them mean: who sets them, and where names are looked up.
const LEADING: [&str; 3] = [ROLE, AUTHORIZATION, "search_path"];

/// The statements, in one text, that take a connection from `applied` to `wanted`.
///
/// What both have in common from the start stays. What comes after it in `applied` is taken back, the last first, so that
/// each is reset by who had set it; then the rest of `wanted` is set in its own order.
pub(super) fn replay(applied: &Settings, wanted: &Settings) -> Option<String> {
    if applied == wanted {
        return None;
    }
    let kept = applied.common_start(wanted);
    let rest = || wanted.iter().skip(kept);
    let leads = applied.names().chain(wanted.names()).any(|name| LEADING.contains(&name));
    let mut text = String::new();
    for name in applied.names().skip(kept).collect::<Vec<_>>().into_iter().rev() {
        // What is set anew need not be taken back first, where nothing depends on it.
        if leads || !rest().any(|(other, _)| other == name) {
            add(&mut text, &reset_of(name));
        }
    }
    for (_, statement) in rest() {
        add(&mut text, statement);
    }
    Some(text)
}

fn add(text: &mut String, statement: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(statement);
}

fn reset_of(name: &str) -> String {
    match name {
        ROLE => "RESET ROLE".to_owned(),
        // Becoming another user ends the role, also the one that the login was given.
        AUTHORIZATION => "RESET SESSION AUTHORIZATION; RESET ROLE".to_owned(),
        name => format!("RESET {}", quoted(name)),
    }
}

/// `"app"."tenant"`: a name that was quoted once must be quoted again.
fn quoted(name: &str) -> String {
    let parts: Vec<_> = name.splitn(2, '.').map(|part| format!("\"{part}\"")).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(statements: &[&str]) -> Settings {
        statements.iter().flat_map(|statement| settings_of(statement)).collect()
    }

    fn text(applied: &[&str], wanted: &[&str]) -> Option<String> {
        replay(&settings(applied), &settings(wanted))
    }

    #[test]
    fn a_setting_is_set_again_in_words_of_ones_own() {
        for (sql, again) in [
            ("set work_mem = '1MB' -- x", "SET \"work_mem\" TO '1MB'"),
            ("SET SESSION Statement_Timeout TO 5", "SET \"statement_timeout\" TO 5"),
            ("set search_path to a, \"B\" /* x */ ;", "SET \"search_path\" TO a, \"B\""),
            ("set app.tenant = 'it''s; drop table t'", "SET \"app\".\"tenant\" TO 'it''s; drop table t'"),
            ("set \"a\"\"b\".c = E'\\''", "SET \"a\"\"b\".\"c\" TO E'\\''"),
            ("set time zone 'UTC'", "SET TIME ZONE 'UTC'"),
            ("set time zone interval '1' hour", "SET TIME ZONE interval '1' hour"),
            ("set schema 'x'", "SET SCHEMA 'x'"),
            ("set role \"r\"", "SET ROLE \"r\""),
            ("set role = r", "SET \"role\" TO r"),
            ("set session role r", "SET ROLE r"),
            ("set session authorization a", "SET SESSION AUTHORIZATION a"),
            (
                "select set_config('app.tenant', 'a''b' :: text, false)",
                "SELECT pg_catalog.set_config('app.tenant', 'a''b'::pg_catalog.text, false)",
            ),
        ] {
            let found = settings_of(sql);
            assert_eq!(found.len(), 1, "{sql}");
            assert_eq!(found[0].1, again, "{sql}");
        }
    }

    #[test]
    fn only_the_difference_is_replayed_in_the_order_in_which_it_was_set() {
        let tenant = "set app.tenant = 7";
        assert_eq!(text(&[], &[]), None);
        assert_eq!(text(&[tenant], &["set app.tenant = 7 -- x"]), None);
        assert_eq!(text(&[], &[tenant]).unwrap(), "SET \"app\".\"tenant\" TO 7");
        assert_eq!(text(&[tenant], &[]).unwrap(), "RESET \"app\".\"tenant\"");
        assert_eq!(text(&[tenant], &["set app.tenant = 8"]).unwrap(), "SET \"app\".\"tenant\" TO 8");
        assert_eq!(
            text(&[tenant, "set work_mem = 1"], &[tenant, "set role r"]).unwrap(),
            "RESET \"work_mem\"; SET ROLE r",
            "what both have from the start stays"
        );
        let admin = ["set role admin", "set session_replication_role = replica"];
        assert_eq!(text(&[], &admin).unwrap(), "SET ROLE admin; SET \"session_replication_role\" TO replica");
        assert_eq!(
            text(&admin, &[tenant]).unwrap(),
            "RESET \"session_replication_role\"; RESET ROLE; SET \"app\".\"tenant\" TO 7",
            "taken back by who had set it"
        );
        let search = ["set search_path = rts, public", "set default_text_search_config = 'rts.conf'"];
        assert_eq!(
            text(&[search[1], search[0]], &search).unwrap(),
            "RESET \"search_path\"; RESET \"default_text_search_config\"; SET \"search_path\" TO rts, public; \
             SET \"default_text_search_config\" TO 'rts.conf'",
            "another order is another setting"
        );
        assert_eq!(text(&["set session authorization a"], &[]).unwrap(), "RESET SESSION AUTHORIZATION; RESET ROLE");
        assert_eq!(text(&["set role none"], &[]).unwrap(), "RESET ROLE");
    }

    #[test]
    fn a_name_that_the_server_cuts_is_not_moved() {
        let (fits, cut) = ("x".repeat(63), "x".repeat(64));
        for (name, moves) in [
            (fits.clone(), true),
            (format!("my.{fits}"), true),
            (format!("{fits}.{fits}"), true),
            (cut.clone(), false),
            (format!("my.{cut}"), false),
            (format!("{cut}.my"), false),
            (format!("\"{cut}\""), false),
        ] {
            for sql in [format!("set {name} = 1"), format!("set {name} to default"), format!("reset {name}")] {
                let lasts = matches!(change(&sql), Some(Change::Lasting(_)));
                let pins = change(&sql) == Some(Change::Pins(PinCause::Setting));
                assert_eq!((lasts, pins), (moves, !moves), "{sql}");
            }
            if !name.contains('"') {
                let sql = format!("select set_config('{name}', 'y', false)");
                assert_eq!(change(&sql).is_some(), moves, "{sql}");
            }
        }
    }

    #[test]
    fn what_the_login_has_fixed_may_be_set_again() {
        for sql in [
            "set client_encoding = 'UTF8'",
            "SET client_encoding TO utf8",
            "set session client_encoding = 'utf-8'",
            "set local client_encoding to 'Unicode'",
            "set names 'UTF8'",
            "set standard_conforming_strings = on",
            "set standard_conforming_strings to 'true'",
            "select set_config('client_encoding', 'UTF8', false)",
            "select pg_catalog.set_config('standard_conforming_strings', 'on', false)",
        ] {
            assert_eq!(change(sql), Some(Change::Passing(Staleness::Fresh)), "{sql}");
        }
        for sql in [
            "set client_encoding = 'LATIN1'",
            "set client_encoding = 'UTF8', 'LATIN1'",
            "set client_encoding = utf8 latin1",
            "set client_encoding = E'\\125TF8'",
            "set client_encoding = U&'UTF8'",
            "set client_encoding 'UTF8'",
            "set client_encoding = ''",
            "set names",
            "set names 'LATIN1'",
            "set names = 'UTF8'",
            "set client_encoding to default",
            "reset client_encoding",
        ] {
            assert_eq!(change(sql), Some(Change::Pins(PinCause::Setting)), "{sql}");
        }
        for sql in ["set standard_conforming_strings = off", "reset standard_conforming_strings"] {
            assert_eq!(change(sql), Some(Change::Pins(PinCause::UnknownStatement)), "{sql}");
        }
        assert_eq!(change("select set_config('client_encoding', 'LATIN1', false)"), None);
    }

    #[test]
    fn characteristics_are_settings() {
        let (level, only) = ("default_transaction_isolation", "default_transaction_read_only");
        let later = "default_transaction_deferrable";
        for (sql, expected) in [
            ("isolation level serializable", &[(level, "serializable")][..]),
            ("ISOLATION LEVEL READ COMMITTED", &[(level, "read committed")]),
            ("isolation level read uncommitted", &[(level, "read uncommitted")]),
            ("read only", &[(only, "on")]),
            ("not deferrable", &[(later, "off")]),
            (
                "isolation level repeatable read, read write deferrable",
                &[(level, "repeatable read"), (only, "off"), (later, "on")],
            ),
        ] {
            for start in
                ["set session characteristics as transaction", "set session session characteristics as transaction"]
            {
                let sql = format!("{start} {sql}");
                let again = |(name, value): &(&str, &str)| ((*name).to_owned(), format!("SET \"{name}\" TO '{value}'"));
                assert_eq!(settings_of(&sql), expected.iter().map(again).collect::<Vec<_>>(), "{sql}");
            }
        }
        for rest in
            ["", "as transaction", "as transaction read", "as transaction read only,", "as transaction snapshot 'x'"]
        {
            assert_eq!(change(&format!("set session characteristics {rest}")), None, "{rest}");
        }
    }

    #[test]
    fn several_calls_of_set_config_are_several_settings() {
        let sql = "select set_config('App.A', 'it''s', false), pg_catalog.set_config('work_mem', $$1MB$$::text, false)";
        assert!(matches!(change(sql), Some(Change::Lasting(Setting::Several(_)))));
        let again = [
            ("app.a", "SELECT pg_catalog.set_config('app.a', 'it''s'::pg_catalog.text, false)"),
            ("work_mem", "SELECT pg_catalog.set_config('work_mem', $$1MB$$::pg_catalog.text, false)"),
        ];
        assert_eq!(settings_of(sql), again.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn what_a_text_does_not_tell_is_asked_for() {
        let style = "SELECT pg_catalog.current_setting('DateStyle')";
        for (sql, text) in [
            ("select set_config('a.b', $1, false)", "SELECT ($1)::pg_catalog.text"),
            ("select set_config($1, $2, false)", "SELECT ($1)::pg_catalog.text, ($2)::pg_catalog.text"),
            (
                "select pg_catalog.set_config('a.b', $1::int::text, $2)",
                "SELECT ($1::int::text)::pg_catalog.text, ($2)::pg_catalog.text",
            ),
            (
                "select set_config('a.b', $2, false), set_config('a.c', $1, false)",
                "SELECT ($2)::pg_catalog.text, ($1)::pg_catalog.text",
            ),
            ("set datestyle to iso", style),
            ("set session DateStyle = 'DMY'", style),
            ("select set_config('datestyle', 'SQL', false)", style),
        ] {
            assert_eq!(question(sql).map(|question| question.text).as_deref(), Some(text), "{sql}");
        }
        for sql in [
            "select set_config('a.b', 'c', false)",
            "select set_config('a.b', $1 || 'c', false)",
            "select set_config('a.b', $1::mood, false)",
            "select set_config('a.b', $1, false) from t",
            "select set_config('a.b', $1, false), 1",
            "set datestyle to iso, dmy",
            "set datestyle to nonsense",
            "set datestyle to e'is\\157'",
            "set local datestyle to iso",
            "set a.datestyle to iso",
            "set client_encoding = 'LATIN1'",
        ] {
            assert!(question(sql).is_none(), "{sql}");
        }
    }

    #[test]
    fn what_is_looked_up_by_the_path_moves_with_its_schema_only() {
        for (value, moves) in [
            ("= pg_catalog.english", true),
            ("to 'tenant_a.mine'", true),
            ("to default", true),
            ("= english", false),
            ("= 'english'", false),
            ("= 'a.b.c'", false),
            ("= 'pg_temp.mine'", false),
            ("= pg_temp_3.mine", false),
            ("= a.b.c", false),
            ("= a.b, c", false),
            ("= \"A\".mine", false),
            ("= e'a.\\155ine'", false),
            ("= ''", false),
            ("= 'a.'", false),
        ] {
            let statement = format!("set default_text_search_config {value}");
            assert_eq!(matches!(change(&statement), Some(Change::Lasting(_))), moves, "{statement}");
        }
        assert!(matches!(change("set local default_text_search_config = x"), Some(Change::Passing(_))));
        assert!(change("select set_config('default_text_search_config', $1, true)").is_none());
        let call = "select set_config('default_text_search_config', 'mine', false)";
        assert_eq!(change(call), Some(Change::Pins(PinCause::Setting)));
    }

    #[test]
    fn answers_stand_in_the_place_of_what_is_not_told() {
        let text = |text: &str| Some(text.to_owned());
        for (sql, answers, spelled_so) in [
            (
                "select set_config('a.b', $1, false)",
                vec![text("it's $1 \\")],
                Some("SELECT set_config('a.b', 'it''s $1 \\', false)"),
            ),
            (
                "select set_config($1, $2, $3)",
                vec![text("a.b"), text("c"), text("true")],
                Some("SELECT set_config('a.b', 'c', true)"),
            ),
            (
                "select set_config($1, $2, $3)",
                vec![text("a.b"), text("c"), None],
                Some("SELECT set_config('a.b', 'c', false)"),
            ),
            ("select set_config('a.b', $1, false)", vec![None], Some("SET \"a\".\"b\" TO DEFAULT")),
            ("select set_config('a.b', $1, true)", vec![None], Some("SET LOCAL \"a\".\"b\" TO DEFAULT")),
            ("select set_config($1, 'c', false)", vec![None], None),
            ("select set_config('a.b', $1, false)", vec![], None),
            ("set datestyle to iso", vec![text("SQL, DMY")], Some("SET datestyle TO 'iso, DMY'")),
            ("set datestyle = 'dmy', mdy", vec![text("Postgres, YMD")], Some("SET datestyle TO 'dmy, mdy, Postgres'")),
        ] {
            assert_eq!(spelled(sql, &answers).as_deref(), spelled_so, "{sql}");
        }
        // And then they are classified as if they had been written so.
        let classed = |answer: &str| {
            change(&spelled("select set_config($1, 'pg_temp', false)", &[text(answer)]).unwrap()).map(drop_text)
        };
        fn drop_text(change: Change<'_>) -> &'static str {
            match change {
                Change::Lasting(Setting::Set { .. }) => "set",
                Change::Pins(PinCause::UnknownStatement) => "temporary",
                _ => "else",
            }
        }
        assert_eq!(classed("a.b"), Some("set"));
        assert_eq!(classed("search_path"), Some("temporary"));
        for hidden in ["client_encoding", "seed", "a\"b", "", "x'y"] {
            assert_eq!(classed(hidden), None, "{hidden}");
        }
    }

    #[test]
    fn what_is_not_understood_is_no_setting() {
        for sql in [
            "set",
            "set x",
            "set x y",
            "set a.b.c = 1",
            "set 'x' = 1",
            "reset",
            "select set_config($1, 'x', false)",
            "select set_config('x', $1, false)",
            "select set_config('x', 'y', $1)",
            "select set_config('x', 'y', false), 1",
            "select set_config('x', 'y', false), set_config('z', 'y', true)",
            "select set_config('x', 'y'::citext, false)",
            "select set_config('x', lower('Y'), true)",
            "select set_config('x', 'y', false) from t",
            "select set_config('we\"ird', 'y', false)",
            "select 1",
        ] {
            assert_eq!(change(sql), None, "{sql}");
        }
    }
}
