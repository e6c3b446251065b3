//! `SET`, `RESET` and `set_config`: which setting they change, and how to take a connection from one set of settings to
//! another.
//!
//! Grammar: <https://www.postgresql.org/docs/current/sql-set.html>, `sql-reset`, `sql-set-role`,
//! `sql-set-session-authorization`.

use super::classify::TEMPORARY;
use super::control::LONGEST_NAME;
use super::lexer::Lexer;
use crate::engine::token::{Token, is};
use crate::engine::{Name, Setting, Settings, Staleness};
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

/// Settings that move or not by their value.
const BY_VALUE: [&str; 2] = ["search_path", "datestyle"];

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
    }
    if ["characteristics", "xml", "catalog"].iter().any(|word| begins(token, word, &tokens)) {
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
                // No statement that ends a pin takes it back: the next table would be everybody's.
                return Some(PinCause::UnknownStatement);
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
/// Any number that end with the transaction, whatever their values; or one that lasts, with a value that the text tells.
fn set_config<'a>(statement: &'a str, mut tokens: Lexer<'a>) -> Option<Change<'a>> {
    let mut lasting = None;
    let mut count = 0;
    let mut passing = Staleness::Fresh;
    loop {
        let Call { name, value, local } = call(statement, &mut tokens)?;
        count += 1;
        if local {
            passing = passing.max(staleness_by(&name.key()));
        }
        match value {
            Some(value) => {
                if let Some(cause) = unmoved_value(name, Lexer::new(value)) {
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
            (None, None) => return Some(Change::Passing(passing)),
            (None, Some(setting)) if count == 1 => return Some(Change::Lasting(setting)),
            (Some(Token::Symbol(b',')), _) => {}
            _ => return None,
        }
    }
}

/// One call of `set_config`.
struct Call<'a> {
    name: Name<'a>,
    /// The value's literal; `None` when it is a parameter.
    value: Option<&'a str>,
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
        Token::String(_) => Some(statement.get(start..tokens.at())?.trim_start()),
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

/// The setting that a statement changes for good, with a statement of this crate's own that sets it again.
///
/// Not the application's text: a function in it would be looked up in the `search_path` of whoever had the connection
/// before, and run as the login. `SET` calls no function.
pub(super) fn settings_of(statement: &str) -> Vec<(String, String)> {
    let Some(Change::Lasting(Setting::Set { name, .. })) = change(statement) else { return Vec::new() };
    let key = name.key();
    let again = wording(statement, &key);
    again.map(|again| (key, again)).into_iter().collect()
}

fn wording(statement: &str, key: &str) -> Option<String> {
    let mut tokens = Lexer::new(statement);
    if is(tokens.next()?, "select") {
        let Call { value, .. } = call(statement, &mut tokens)?;
        return Some(format!("SELECT pg_catalog.set_config('{key}', {}::pg_catalog.text, false)", value?));
    }
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
        let search = ["set search_path = rts, public", "set default_text_search_config = 'conf'"];
        assert_eq!(
            text(&[search[1], search[0]], &search).unwrap(),
            "RESET \"search_path\"; RESET \"default_text_search_config\"; SET \"search_path\" TO rts, public; \
             SET \"default_text_search_config\" TO 'conf'",
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
