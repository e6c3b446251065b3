//! `SET`, `RESET` and `set_config`: which setting they change, and how to take a connection from one set of settings to
//! another.
//!
//! Grammar: <https://www.postgresql.org/docs/current/sql-set.html>, `sql-reset`, `sql-set-role`,
//! `sql-set-session-authorization`.

use super::classify::TEMPORARY;
use super::control::LONGEST_NAME;
use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Name, Setting, Settings};
use crate::pin::PinCause;

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
const BY_VALUE: [&str; 2] = ["search_path", "datestyle"];

/// What a statement does to settings, if that is all it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// It lasts beyond the transaction.
    Lasting(Setting<'a>),
    /// It ends with the transaction.
    Passing,
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
        return Some(Change::Passing);
    }
    let local = begins(token, "local", &tokens);
    if local {
        token = tokens.next()?;
    }
    if begins(token, "session", &tokens) {
        token = tokens.next()?;
        // Forms of their own, and no settings of that name.
        if is(token, "authorization") {
            return identity(statement, AUTHORIZATION, "default", local, tokens);
        }
    }
    if ["characteristics", "xml", "catalog"].iter().any(|word| begins(token, word, &tokens)) {
        return None;
    }
    if begins(token, "role", &tokens) {
        return identity(statement, ROLE, "none", local, tokens);
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
    if let Some(cause) = unmoved_value(name, tokens.clone()) {
        return Some(Change::Pins(cause));
    }
    let value = tokens.next()?;
    if local || is_among(name, &OF_TRANSACTION) {
        return Some(Change::Passing);
    }
    let to_default = is(value, "default") || zone && is(value, "local");
    Some(Change::Lasting(if to_default && tokens.next().is_none() {
        Setting::Reset(name)
    } else {
        Setting::Set { name, statement }
    }))
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
fn unmoved_value(name: Name<'_>, value: Lexer<'_>) -> Option<PinCause> {
    if is_among(name, &["search_path"]) {
        unmoved_path(value)
    } else if is_among(name, &["datestyle"]) && !is_whole_date_style(value) {
        Some(PinCause::Setting)
    } else {
        None
    }
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
                return Some(PinCause::TemporaryObject);
            }
            _ => {}
        }
    }
    cause
}

fn mentions_temporary(text: &str) -> bool {
    text.as_bytes().windows(TEMPORARY.len()).any(|part| part.eq_ignore_ascii_case(TEMPORARY.as_bytes()))
}

/// Half a date style, the format or the order of the parts, leaves the other half as it was.
fn is_whole_date_style(value: Lexer<'_>) -> bool {
    let (mut format, mut order) = (false, false);
    for token in value {
        let (Token::Word(text) | Token::Identifier(text) | Token::String(text)) = token else { continue };
        for part in text.split(|c: char| !c.is_ascii_alphabetic()) {
            let is = |known: &[&str]| known.iter().any(|known| part.eq_ignore_ascii_case(known));
            format |= is(&["iso", "sql", "postgres", "postgresql", "german", "default"]);
            order |= is(&["ymd", "dmy", "mdy", "us", "european", "noneuropean", "german", "default"]);
        }
    }
    format && order
}

/// `ROLE x` and `SESSION AUTHORIZATION x`.
fn identity<'a>(
    statement: &'a str,
    name: &'static str,
    none: &str,
    local: bool,
    mut tokens: Lexer<'a>,
) -> Option<Change<'a>> {
    let mut value = tokens.next()?;
    if local {
        return Some(Change::Passing);
    }
    if value == Token::Symbol(b'=') || is(value, "to") {
        value = tokens.next()?;
    }
    let name = Name(name, None);
    Some(Change::Lasting(if is(value, none) { Setting::Reset(name) } else { Setting::Set { name, statement } }))
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
        return Some(Change::Passing);
    } else {
        dotted(token, &mut tokens)?
    };
    if is_among(name, &NOT_MOVED) || is_cut(name) {
        return Some(Change::Pins(unmoved(name)));
    }
    if is_among(name, &OF_TRANSACTION) {
        return Some(Change::Passing);
    }
    Some(Change::Lasting(Setting::Reset(name)))
}

/// `select [pg_catalog.]set_config('name', 'value', true|false), …` and nothing else: only then is it known to run once.
/// Any number that end with the transaction, whatever their values; or one that lasts, with a value that the text tells.
fn set_config<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let mut lasting = None;
    let mut count = 0;
    loop {
        let Call { name, value, local } = call(statement, &mut tokens)?;
        count += 1;
        match value {
            Some(value) => {
                if let Some(cause) = unmoved_value(name, value) {
                    return Some(Change::Pins(cause));
                }
            }
            // One that moves like any other, unless its value says otherwise.
            None if !local || is_among(name, &BY_VALUE) => return None,
            None => {}
        }
        if !local && !is_among(name, &OF_TRANSACTION) {
            lasting = Some(Setting::Set { name, statement });
        }
        match (tokens.next(), lasting) {
            (None, None) => return Some(Change::Passing),
            (None, Some(setting)) if count == 1 => return Some(Change::Lasting(setting)),
            (Some(Token::Symbol(b',')), _) => {}
            _ => return None,
        }
    }
}

/// One call of `set_config`.
struct Call<'a> {
    name: Name<'a>,
    /// At the value's token; `None` when it is a parameter.
    value: Option<Lexer<'a>>,
    local: bool,
}

fn call<'a>(statement: &'a str, tokens: &mut Lexer<'a>) -> Option<Call<'a>> {
    let comma = Token::Symbol(b',');
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
    let Token::String(setting) = tokens.next()? else { return None };
    if tokens.next()? != comma {
        return None;
    }
    let start = tokens.at();
    let value = match tokens.next()? {
        Token::String(_) => Some(Lexer::new(&statement[start..tokens.at()])),
        Token::Word(parameter) if parameter.starts_with('$') => None,
        _ => return None,
    };
    let mut next = tokens.next()?;
    if next == Token::Symbol(b':') && tokens.next()? == Token::Symbol(b':') && matches!(tokens.next()?, Token::Word(_))
    {
        next = tokens.next()?;
    }
    if next != comma {
        return None;
    }
    let local = tokens.next()?;
    if tokens.next()? != Token::Symbol(b')') || !is(local, "true") && !is(local, "false") {
        return None;
    }
    let plain_name =
        !setting.is_empty() && setting.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    // A text is not cut, and what resets it is.
    let whole = !setting.splitn(2, '.').any(|part| part.len() > LONGEST_NAME);
    let name = Name(setting, None);
    (plain_name && whole && !is_among(name, &NOT_MOVED)).then_some(Call { name, value, local: is(local, "true") })
}

/// The statements, in one text, that take a connection from `applied` to `wanted`.
///
/// Who the session acts as comes off first and goes on last: a role may not be allowed to set what the login may.
pub(super) fn replay(applied: &Settings, wanted: &Settings) -> Option<String> {
    if std::sync::Arc::ptr_eq(applied, wanted) || applied == wanted {
        return None;
    }
    let mut text = String::new();
    let mut add = |statement: &str| {
        text.push_str(statement);
        // A line of its own: the statement may end in a comment.
        text.push_str("\n;");
    };
    for name in [ROLE, AUTHORIZATION] {
        if applied.contains_key(name) {
            add(&format!("RESET {}", name.replace('_', " ")));
        }
    }
    let identity = |name: &str| name == ROLE || name == AUTHORIZATION;
    for name in applied.keys().filter(|name| !identity(name) && !wanted.contains_key(*name)) {
        add(&format!("RESET {}", quoted(name)));
    }
    for (_, statement) in
        wanted.iter().filter(|(name, statement)| !identity(name) && applied.get(*name) != Some(statement))
    {
        add(statement);
    }
    for name in [AUTHORIZATION, ROLE] {
        if let Some(statement) = wanted.get(name) {
            add(statement);
        }
    }
    Some(text)
}

/// `"app"."tenant"`: a name that was quoted once must be quoted again.
fn quoted(name: &str) -> String {
    let parts: Vec<_> = name.splitn(2, '.').map(|part| format!("\"{part}\"")).collect();
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        std::sync::Arc::new(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn only_the_difference_is_replayed_and_the_role_goes_on_last() {
        let none = settings(&[]);
        let tenant = settings(&[("app.tenant", "set app.tenant = 7 -- x")]);
        let role = settings(&[("role", "set role r"), ("work_mem", "set work_mem = '1MB'")]);
        assert_eq!(replay(&none, &none), None);
        assert_eq!(replay(&tenant, &settings(&[("app.tenant", "set app.tenant = 7 -- x")])), None);
        assert_eq!(replay(&none, &tenant).unwrap(), "set app.tenant = 7 -- x\n;");
        assert_eq!(replay(&tenant, &none).unwrap(), "RESET \"app\".\"tenant\"\n;");
        assert_eq!(replay(&none, &role).unwrap(), "set work_mem = '1MB'\n;set role r\n;");
        assert_eq!(replay(&role, &tenant).unwrap(), "RESET role\n;RESET \"work_mem\"\n;set app.tenant = 7 -- x\n;");
        let authorization = settings(&[("session_authorization", "set session authorization a")]);
        assert_eq!(replay(&authorization, &none).unwrap(), "RESET session authorization\n;");
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
            "select set_config('x', lower('Y'), true)",
            "select set_config('x', 'y', false) from t",
            "select set_config('we\"ird', 'y', false)",
            "select 1",
        ] {
            assert_eq!(change(sql), None, "{sql}");
        }
    }
}
