//! `SET`, `RESET` and `set_config`: which setting they change, and how to take a connection from one set of settings to
//! another.
//!
//! Grammar: <https://www.postgresql.org/docs/current/sql-set.html>, `sql-reset`, `sql-set-role`,
//! `sql-set-session-authorization`.

use super::classify::is;
use crate::engine::lexer::{Lexer, Token};
use crate::engine::{Name, Setting, Settings};

const ROLE: &str = "role";
const AUTHORIZATION: &str = "session_authorization";

/// Settings that are not moved: two change how a text is read, one what the driver reads, and a seed is used up.
const NOT_MOVED: [&str; 5] = ["standard_conforming_strings", "backslash_quote", "client_encoding", "seed", "names"];

/// What a statement does to settings, if that is all it does.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// It lasts beyond the transaction.
    Lasting(Setting<'a>),
    /// It ends with the transaction.
    Passing,
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
    if is(token, "transaction") || is(token, "constraints") {
        return Some(Change::Passing);
    }
    let local = is(token, "local");
    if local {
        token = tokens.next()?;
    }
    if is(token, "session") {
        token = tokens.next()?;
        // Forms of their own, and no settings of that name.
        if is(token, "authorization") {
            return identity(statement, AUTHORIZATION, "default", local, tokens);
        }
    }
    if is(token, "characteristics") || is(token, "xml") || is(token, "catalog") {
        return None;
    }
    if is(token, "role") {
        return identity(statement, ROLE, "none", local, tokens);
    }
    let name = match token {
        Token::Word(word) | Token::Identifier(word)
            if NOT_MOVED.iter().any(|known| word.eq_ignore_ascii_case(known)) =>
        {
            return None;
        }
        token if is(token, "time") => {
            let zone = tokens.next()?;
            if !is(zone, "zone") {
                return None;
            }
            Name("timezone", None)
        }
        token if is(token, "schema") => Name("search_path", None),
        token => dotted(token, &mut tokens)?,
    };
    let value = value(name, &mut tokens)?;
    if local {
        return Some(Change::Passing);
    }
    let to_default = is(value, "default") || name.0 == "timezone" && is(value, "local");
    Some(Change::Lasting(if to_default && tokens.next().is_none() {
        Setting::Reset(name)
    } else {
        Setting::Set { name, statement }
    }))
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

/// The first token of the value, past `TO` or `=` where the form has one.
fn value<'a>(name: Name<'_>, tokens: &mut Lexer<'a>) -> Option<Token<'a>> {
    let token = tokens.next()?;
    if token == Token::Symbol(b'=') || is(token, "to") {
        return tokens.next();
    }
    // `SET TIME ZONE x` and `SET SCHEMA 'x'` have none; anything else without is not understood.
    (name == Name("timezone", None) || name == Name("search_path", None)).then_some(token)
}

fn reset<'a>(mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let token = tokens.next()?;
    let name = if is(token, "all") {
        return Some(Change::Lasting(Setting::ResetAll));
    } else if is(token, "time") {
        Name("timezone", None)
    } else if is(token, "session") {
        Name(AUTHORIZATION, None)
    } else if is(token, "transaction") {
        return Some(Change::Passing);
    } else {
        let name = dotted(token, &mut tokens)?;
        if NOT_MOVED.iter().any(|known| name.0.eq_ignore_ascii_case(known)) {
            return None;
        }
        name
    };
    Some(Change::Lasting(Setting::Reset(name)))
}

/// `select [pg_catalog.]set_config('name', 'value', true|false), …` and nothing else: only then is it known to run once.
/// Any number that end with the transaction, whatever their values; or one that lasts, with a value that the text tells.
fn set_config<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let mut lasting = None;
    let mut count = 0;
    loop {
        let (name, value_is_known, local) = call(&mut tokens)?;
        count += 1;
        if !local {
            if !value_is_known {
                return None;
            }
            lasting = Some(Setting::Set { name: Name(name, None), statement });
        }
        match (tokens.next(), lasting) {
            (None, None) => return Some(Change::Passing),
            (None, Some(setting)) if count == 1 => return Some(Change::Lasting(setting)),
            (Some(Token::Symbol(b',')), _) => {}
            _ => return None,
        }
    }
}

/// One call: the name, whether the text tells the value, and whether it ends with the transaction.
fn call<'a>(tokens: &mut Lexer<'a>) -> Option<(&'a str, bool, bool)> {
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
    if tokens.next()? != Token::Symbol(b',') {
        return None;
    }
    let value_is_known = match tokens.next()? {
        Token::String(_) => true,
        Token::Word(parameter) if parameter.starts_with('$') => false,
        _ => return None,
    };
    let mut comma = tokens.next()?;
    if comma == Token::Symbol(b':') && tokens.next()? == Token::Symbol(b':') && matches!(tokens.next()?, Token::Word(_))
    {
        comma = tokens.next()?;
    }
    if comma != Token::Symbol(b',') {
        return None;
    }
    let local = tokens.next()?;
    if tokens.next()? != Token::Symbol(b')') || !is(local, "true") && !is(local, "false") {
        return None;
    }
    let plain_name =
        !setting.is_empty() && setting.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
    if !plain_name || NOT_MOVED.iter().any(|known| setting.eq_ignore_ascii_case(known)) {
        return None;
    }
    Some((setting, value_is_known, is(local, "true")))
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
